"""WORLD: the shared connection layer. `Network` = resolve + connect + fetch, under one deadline."""
