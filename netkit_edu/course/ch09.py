"""Exercises of chapter 09: on whose time packets are received, and a program that the verifier refuses."""

from __future__ import annotations

from netkit_edu.course.carriers import WhoseTime
from netkit_edu.course.exercise import collect
from netkit_edu.course.repair import Repair

EXERCISES = collect(WhoseTime, Repair)
