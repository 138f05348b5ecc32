"""A filter of system calls in classic BPF: what it forbids fails with EPERM, everything else is allowed.

The file system is shut by mounts or by Landlock; the filter shuts what these leave open: other processes, new ones,
sockets, shared memory, and the parts of the kernel that programs need not reach.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from .system import ARCHITECTURE, PR_SET_PDEATHSIG, PR_SET_SECCOMP, prctl

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x10000
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# Name: numbers on x86_64 and aarch64; None where there is no such call.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    # new processes and programs
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    # network and what outlives a process
    "socket": (41, 198), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
    # namespaces, mounts, ways around paths
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # the kernel and the machine
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "syslog": (103, 116), "vhangup": (153, 58), "personality": (135, 92),
}  # fmt: skip

# Changes of files that Landlock does not govern; and truncation by path, of which only later versions know. ftruncate
# stays: it takes a file that is open for writing, and programs shorten those that they may write.
_ATTRIBUTES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
}  # fmt: skip

_CLONE, _CLONE3, _SOCKETPAIR, _KILL_CALL = (56, 220), (435, 435), (53, 199), (62, 129)
_TGKILL, _PRLIMIT, _PRCTL = (234, 131), (302, 261), (157, 167)
_UNIX_FAMILY = 1

Instruction = tuple[int, int, int, int]


def install(*, threads: bool, attributes: bool) -> None:
    """Filter the system calls of this process and its threads from now on; it needs ``no_new_privs``.

    Args:
        threads: whether it may start threads.
        attributes: whether it may change modes, owners and times of files, and shorten them by their path.

    Raises:
        OSError: the kernel has no filters.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program(threads, attributes))
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    prctl(PR_SET_SECCOMP, 2, ctypes.byref(Program(len(code) // 8, ctypes.addressof(buffer))))


def program(threads: bool, attributes: bool) -> list[Instruction]:
    """The instructions of the filter: (operation, jump if true, jump if false, operand)."""
    assert ARCHITECTURE is not None
    column = ("x86_64", "aarch64").index(ARCHITECTURE)
    refused = _give(_ERRNO | errno.EPERM)
    code: list[Instruction] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _AUDIT[ARCHITECTURE]), _give(_KILL), (_LOAD, 0, 0, 0)]
    if ARCHITECTURE == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32_BIT), _give(_KILL)]
    for numbers in (*_FORBIDDEN.values(), *(() if attributes else _ATTRIBUTES.values())):
        number = numbers[column]
        if number is not None:
            code += _on(number, [refused])
    code += _on(_CLONE3[column], [_give(_ERRNO | errno.ENOSYS)])  # the C library then uses clone
    only_threads = [_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), _give(_ALLOW), refused]
    code += _on(_CLONE[column], only_threads if threads else [refused])
    code += _on(_SOCKETPAIR[column], _only((_UNIX_FAMILY,)))
    process = os.getpid()
    for call in (_KILL_CALL, _TGKILL):
        code += _on(call[column], _only((process,)))
    code += _on(_PRLIMIT[column], _only((0, process)))
    code += _on(_PRCTL[column], [_argument(0), (_EQUAL, 0, 1, PR_SET_PDEATHSIG), refused, _give(_ALLOW)])
    return [*code, _give(_ALLOW)]


def _give(verdict: int) -> Instruction:
    return (_RETURN, 0, 0, verdict)


def _argument(place: int) -> Instruction:
    """Load the lower half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, 16 + 8 * place)


def _on(number: int, body: list[Instruction]) -> list[Instruction]:
    """Do ``body``, which always gives a verdict, if the call has this number."""
    return [(_EQUAL, 0, len(body), number), *body]


def _only(values: tuple[int, ...]) -> list[Instruction]:
    """Allow the call with one of these as its first argument."""
    body = [_argument(0)]
    for value in values:
        body += [(_EQUAL, 0, 1, value), _give(_ALLOW)]
    return [*body, _give(_ERRNO | errno.EPERM)]
