# golden with a C compiler, for a user without privileges:
#
#   docker build -t golden .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" golden validate libvendor.so --platform MT7004 --out report
#
# Of the layers around a library (docs/trust.md), Docker's defaults leave Landlock (from Docker 23, if the kernel has it)
# and seccomp; namespaces they refuse. A validation then goes on without, and says so in its results; with
# `--sandbox require` it does not. All three, for libraries whose author you do not trust:
#
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" --security-opt seccomp=unconfined \
#     --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
#     golden validate libvendor.so --sandbox require --out report
#
# The first lets golden make namespaces, the others let it mount a /proc of its own in them. They loosen the container
# for golden itself; the library is held by golden's layers. `docker run --rm golden doctor` tells which there are.

FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# gcc: builds, reproducers, and the C judge of sweeps. libseccomp2: a layer around libraries.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev libseccomp2 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl pytest && rm -r /wheels
RUN useradd golden
USER golden
# Where C is kept that is compiled on first use, also for users whom --user names and nobody knows.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["golden"]
CMD ["--help"]
