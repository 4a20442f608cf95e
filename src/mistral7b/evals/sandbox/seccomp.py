"""Seccomp: which system calls a program may make (docs.kernel.org/userspace-api/seccomp_filter.html).

A program is one process. It starts no other, runs no other file, speaks to nobody, signals nobody but itself, and changes
nothing about files but their contents; landlock or mounts say which. Refused calls fail with EPERM, those newer than this
list with ENOSYS, as on a kernel that has not got them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from errno import ENOSYS, ENOTTY, EPERM

from mistral7b.evals.sandbox.system import NO_NEW_PRIVILEGES, PARENT_DEATH_SIGNAL, call, machine

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST = 462  # mseal; numbers since 424 are the same everywhere
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _GREATER, _AND, _RETURN = 0x20, 0x15, 0x25, 0x54, 0x06
_SET_SECCOMP, _FILTER = 22, 2  # of prctl
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data; arguments follow from 16 on, low half first
_CLONE_THREAD = 0x10000

# name: number on x86_64, on aarch64 (None where it has no such call)
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes, other programs
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "setsid": (112, 157),
    "setpgid": (109, 154), "unshare": (272, 97), "setns": (308, 268), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # the network, and ways around this list
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200), "listen": (50, 201),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "personality": (135, 92), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "fanotify_init": (300, 262),
    # memory that no limit counts, or that outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180),
    # files beside their contents; disk taken faster than it is watched
    "fallocate": (285, 47),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # the machine
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161),
    "setdomainname": (171, 162), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "syslog": (103, 116), "iopl": (172, None),
    "ioperm": (173, None), "vhangup": (153, 58),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), (435, 435)
_OWN = {"kill": (62, 129), "tgkill": (234, 131)}  # allowed where the first argument is this process
_PRLIMIT, _SENDTO, _IOCTL, _FCNTL = (302, 261), (44, 206), (16, 29), (72, 25)
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_PRCTL = (157, 167)
_PRCTLS = (PARENT_DEATH_SIGNAL, 4)  # PR_SET_DUMPABLE: it hides the open files from its watch
_FCNTLS = (8, 10, 15, 1024)  # F_SETOWN F_SETSIG F_SETOWN_EX: signals by way of a pipe; F_SETLEASE


def restrict() -> None:
    """From now on, in all threads of this process to come. Raises OSError if the kernel refuses."""
    program = b"".join(struct.pack("=HBBI", *step) for step in steps(os.getpid()))
    filled = ctypes.create_string_buffer(program, len(program))
    call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(filled)))
    call("prctl", _SET_SECCOMP, _FILTER, pointer, 0, 0)


Step = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def steps(own: int) -> list[Step]:
    """The filter, for the process of id `own`, on this processor. Raises OSError on one that is not known."""
    name = machine()
    if name is None:
        raise OSError("seccomp: this processor is not known")
    column = 0 if name == "x86_64" else 1
    refuse = _ERROR | EPERM
    program: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[name]), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER), (_GREATER, 0, 1, _NEWEST), (_RETURN, 0, 0, _ERROR | ENOSYS),
        (_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERROR | ENOSYS),  # the C library then takes clone
    ]  # fmt: skip
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    allow: Step = (_RETURN, 0, 0, _ALLOW)
    of_clone: list[Step] = [
        (_LOAD, 0, 0, 16),
        (_AND, 0, 0, _CLONE_THREAD),
        (_EQUAL, 0, 1, _CLONE_THREAD),
        allow,
        (_RETURN, 0, 0, refuse),
    ]
    of_sendto: list[Step] = [
        (_LOAD, 0, 0, 48),
        (_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, 52),
        (_EQUAL, 0, 1, 0),
        allow,
        (_RETURN, 0, 0, refuse),
    ]
    to_itself: list[Step] = [(_LOAD, 0, 0, 16), (_EQUAL, 0, 1, own), allow, (_RETURN, 0, 0, refuse)]
    of_prlimit: list[Step] = [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, 0), (_EQUAL, 0, 1, own), allow, (_RETURN, 0, 0, refuse)]
    of_prctl: list[Step] = [(_LOAD, 0, 0, 16)]
    for option in _PRCTLS:
        of_prctl += [(_EQUAL, 0, 1, option), (_RETURN, 0, 0, refuse)]
    of_prctl.append(allow)
    of_ioctl: list[Step] = [(_LOAD, 0, 0, 24)]
    for request in _IOCTLS:
        of_ioctl += [(_EQUAL, 0, 1, request), allow]
    of_ioctl.append((_RETURN, 0, 0, _ERROR | ENOTTY))
    of_fcntl: list[Step] = [(_LOAD, 0, 0, 24)]
    for command in _FCNTLS:
        of_fcntl += [(_EQUAL, 0, 1, command), (_RETURN, 0, 0, refuse)]
    of_fcntl.append(allow)
    for numbers, body in (
        (_CLONE, of_clone), (_SENDTO, of_sendto), (_PRLIMIT, of_prlimit), (_IOCTL, of_ioctl), (_FCNTL, of_fcntl),
        (_PRCTL, of_prctl),
        *((numbers, to_itself) for numbers in _OWN.values()),
    ):  # fmt: skip
        program += [(_EQUAL, 0, len(body), numbers[column]), *body]
    return [*program, allow]
