"""The builder of the open face model: CC0 MakeHuman data in, a model file out."""
