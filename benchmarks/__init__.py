"""What spanback costs, measured beside the same thing written by hand, in one run. Never a timed test.

python -m benchmarks.calls      what is added to a call of a client
python -m benchmarks.feedback   what `record_feedback` costs
python -m benchmarks.startup    what `import spanback` and `instrument()` take
python -m benchmarks.memory     whether memory stays flat over a million calls and signals
"""
