"""Which picture is used for what: three disjoint sets for gradients, search and report."""
