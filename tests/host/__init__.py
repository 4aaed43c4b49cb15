"""Tests of labs on this machine's own kernel: by root here, and inside a virtual machine whose kernel has netkit."""
