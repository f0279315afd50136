"""The races as pytest-benchmark suites: `pytest bench/suites --benchmark-only -k "siamese and int8"`.

Each file has `planned(plan)`, which names its races without making their data, and one test, of which there is a case
for each contender and workload. The first case of a race that is asked for runs the whole race, with those contenders
and workloads that were selected; each case then shows its own times.
"""
