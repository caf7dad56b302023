"""The seven data sets: `prepare` checks and packs them, `store` reads what it left.

registry    what each set is, and what its official copy looks like on disk
sources     finding images and labels: official layouts, folders of images
synthetic   drawn stand-ins, so that everything runs without a download
prepare     the step: every file decoded once, packed, counted
store       the reading side, used in training
"""
