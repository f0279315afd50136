"""Limits of containers, as cgroups of either version write them, and the threads that they are enough for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from semblance import container
from semblance.container import ContainerLimits, available_threads, read_limits, usable_processors

MakeRoot = Callable[[dict[str, str]], Path]
NONE = ContainerLimits(None, None)

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_a_system_without_cgroups_has_no_limits(tmp_path: Path, make_root: MakeRoot) -> None:
    assert read_limits(tmp_path) == NONE
    assert read_limits(make_root({"proc/self/mountinfo": "nonsense\n", "proc/self/cgroup": "nonsense\n"})) == NONE


def test_this_machine_can_be_read() -> None:
    limits = read_limits()
    assert limits.processors is None or limits.processors > 0
    assert limits.memory_bytes is None or limits.memory_bytes > 0


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("150000 100000\n", "536870912\n", ContainerLimits(1.5, 1 << 29)),
        ("max 100000\n", "max\n", NONE),
        ("50000 100000\n", "max\n", ContainerLimits(0.5, None)),
    ],
)
def test_version_2_in_a_container(make_root: MakeRoot, cpu: str, memory: str, expected: ContainerLimits) -> None:
    files = {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/\n"}
    root = make_root({**files, "sys/fs/cgroup/cpu.max": cpu, "sys/fs/cgroup/memory.max": memory})
    assert read_limits(root) == expected


def test_version_2_takes_the_tightest_of_the_groups_around(make_root: MakeRoot) -> None:
    root = make_root(
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/kubepods/pod1/job\n",
            "sys/fs/cgroup/kubepods/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/kubepods/memory.max": "1000000\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/kubepods/pod1/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/pod1/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods/pod1/job/memory.max": "2000000\n",
            "sys/fs/cgroup/kubepods/pod2/memory.max": "1\n",  # of a neighbour
        }
    )
    assert read_limits(root) == ContainerLimits(2.0, 1_000_000)


def test_version_1_in_a_container_that_is_told_the_hosts_path(make_root: MakeRoot) -> None:
    """/proc/self/cgroup names the group as the host does; what is mounted begins at that group."""
    root = make_root(
        {
            "proc/self/mountinfo": V1.format(root="/docker/1234"),
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/1234\n4:memory:/docker/1234\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "350000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4294967296\n",
        }
    )
    assert read_limits(root) == ContainerLimits(3.5, 1 << 32)


def test_version_1_on_a_host_without_limits(make_root: MakeRoot) -> None:
    root = make_root(
        {
            "proc/self/mountinfo": V1.format(root="/"),
            "proc/self/cgroup": "5:cpu,cpuacct:/user\n4:memory:/user\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/user/memory.limit_in_bytes": "9223372036854771712\n",
        }
    )
    assert read_limits(root) == NONE


def test_both_versions_at_once(make_root: MakeRoot) -> None:
    """Version 2 without controllers beside version 1, as some systems mount them."""
    unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    root = make_root(
        {
            "proc/self/mountinfo": V1.format(root="/") + unified,
            "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n",
            "sys/fs/cgroup/unified/cgroup.procs": "1\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1048576\n",
        }
    )
    assert read_limits(root) == ContainerLimits(None, 1 << 20)


def test_a_way_that_a_namespace_hides_ends_at_the_mount(make_root: MakeRoot) -> None:
    files = {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/../other\n"}
    assert read_limits(make_root({**files, "sys/fs/cgroup/memory.max": "4096\n"})) == ContainerLimits(None, 4096)


def test_a_mount_whose_name_is_no_text_is_passed_over(make_root: MakeRoot) -> None:
    root = make_root({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4096\n"})
    other = b"30 23 0:27 / /mnt/\xff\xfe rw - ext4 /dev/sda rw\n"
    (root / "proc/self/mountinfo").write_bytes(other + V2.encode())
    assert read_limits(root) == ContainerLimits(None, 4096)


def test_blanks_in_a_mounts_path(make_root: MakeRoot) -> None:
    mount = "29 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n"
    root = make_root({"proc/self/mountinfo": mount, "proc/self/cgroup": "0::/\n", "my groups/memory.max": "4096\n"})
    assert read_limits(root) == ContainerLimits(None, 4096)


@pytest.mark.parametrize(
    ("quota", "threads"), [("50000", 1), ("100000", 1), ("150000", 2), ("400000", 4), ("900000", 8), ("max", 8)]
)
def test_threads_are_as_many_as_the_containers_time_is_enough_for(
    make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    monkeypatch.setattr(container, "usable_processors", lambda: 8)
    files = {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
    assert available_threads(make_root(files)) == threads


def test_threads_without_cgroups_are_the_processors(tmp_path: Path) -> None:
    assert available_threads(tmp_path) == usable_processors() >= 1
    assert 1 <= available_threads() <= usable_processors()


def test_the_containers_files_are_read_once(make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every search asks how many threads there are."""
    root = make_root({"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/\n"})
    before = available_threads(root)
    monkeypatch.setattr(container, "read_limits", None)
    assert available_threads(root) == before
