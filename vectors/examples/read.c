/* Reads an fp32 SmoothL1LossGrad vector file and prints, for each case, id, length, beta and the first golden value.
 * HDF5 picks the members of a compound by name, so only the columns that are wanted are declared. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>

struct row {
    char id[160];
    int length;
    double beta;
    long long golden_offset, golden_count;
};

static hsize_t size_of(hid_t dataset)
{
    hid_t space = H5Dget_space(dataset);
    hsize_t n = (hsize_t)H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    return n;
}

int main(int argc, char **argv)
{
    hid_t file = argc > 1 ? H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT) : H5I_INVALID_HID;
    if (file < 0)
        return fprintf(stderr, "usage: %s smoothl1lossgrad-fp32.h5\n", argv[0]), 2;

    hid_t id = H5Tcopy(H5T_C_S1);
    H5Tset_size(id, sizeof((struct row *)0)->id);
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(struct row));
    H5Tinsert(type, "id", HOFFSET(struct row, id), id);
    H5Tinsert(type, "length", HOFFSET(struct row, length), H5T_NATIVE_INT);
    H5Tinsert(type, "beta", HOFFSET(struct row, beta), H5T_NATIVE_DOUBLE);
    H5Tinsert(type, "golden_offset", HOFFSET(struct row, golden_offset), H5T_NATIVE_LLONG);
    H5Tinsert(type, "golden_count", HOFFSET(struct row, golden_count), H5T_NATIVE_LLONG);

    hid_t cases = H5Dopen2(file, "/cases", H5P_DEFAULT), golden = H5Dopen2(file, "/golden", H5P_DEFAULT);
    hsize_t count = size_of(cases);
    struct row *rows = malloc(count * sizeof *rows);
    float *values = malloc(size_of(golden) * sizeof *values);
    if (H5Dread(cases, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) < 0 ||
        H5Dread(golden, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        return 1;

    for (hsize_t i = 0; i < count; i++)
        printf("%.160s n=%d beta=%.9g golden[0]=%a\n", rows[i].id, rows[i].length, rows[i].beta,
               rows[i].golden_count ? (double)values[rows[i].golden_offset] : 0.0);
    free(rows);
    free(values);
    return 0;
}
