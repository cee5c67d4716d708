"""Files: vectors, manifests, results, sweeps; read within bounds, written whole or not at all."""
