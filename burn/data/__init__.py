"""The seven data sets: `prepare` checks and packs them; burn.images.store reads what it left.

registry    what each set is, and what its official copy looks like on disk
unlabelled  any tree or list of images, without labels
broken      damaged files that may be left out
files       which files are images
sources     finding images and labels: folders of images, stand-ins, limits
official/   the layouts that owners ship, a file each; VOC's also for one's own boxes and masks
synthetic   drawn stand-ins, so that everything runs without a download; drawing: how
listing     which files lie there, as one value
prepare     the step: every file decoded once, packed, counted
"""
