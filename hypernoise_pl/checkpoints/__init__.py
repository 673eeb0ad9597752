"""Models that others have published: found, downloaded, loaded, their keys converted."""
