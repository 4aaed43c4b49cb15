"""Random scenarios on two backends: the same steps, two outcomes, and the smallest scenario on which they disagree.

``python -m netkit_edu compare --random N --seed S`` runs it. A scenario (scenario.py) is plain data, made from a seed
(generator.py); run.py executes it on a lab, judge.py puts two outcomes side by side, surprises.py knows the differences
that are explained, shrink.py makes a scenario smaller, and campaign.py does all that many times.
"""
