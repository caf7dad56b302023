"""The layouts that the owners of the data sets ship, a file each: `read` finds the images there.

    read(folder, dataset, spec, download) -> burn.data.sources.Contents

folder: <data.root>/<path>. spec: burn.experiment.schema.DataSet. Each raises UserError, which names the first
file that is missing and the tree expected (burn.data.registry). voc.py also reads one's own
VOCdevkit. lists.py is what they share.
"""
