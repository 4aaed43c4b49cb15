"""What a notebook shows: ``%%bpf`` cells, drawings of records, errors in plain words, controls.

The only room that imports IPython and ipywidgets, and those only where they are used.
"""
