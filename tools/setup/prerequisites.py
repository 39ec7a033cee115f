"""What must be on the machine before anything can be installed, and how to get it."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import sys

OLDEST, NEWEST = (3, 11), (3, 13)  # Pythons that have ros-rclpy wheels of Kilted

EGL_PLATFORM_DEVICE_EXT = 0x313F

# Debian's and Fedora's names of the package that brings each tool.
CURES = {
    'venv': ('python3-venv', 'python3'),
    'gcc': ('gcc', 'gcc'),
    'g++': ('g++', 'gcc-c++'),
    'cmake': ('cmake', 'cmake'),
    'make': ('make', 'make'),
    'EGL': ('libegl1 libgl1-mesa-dri', 'mesa-libEGL mesa-dri-drivers'),
}


def missing() -> list[str]:
    """Return one sentence for each missing prerequisite, with the command that installs it."""
    absent = [tool for tool in ('gcc', 'g++', 'cmake', 'make') if shutil.which(tool) is None]
    if importlib.util.find_spec('ensurepip') is None:
        absent.append('venv')
    if not egl_renders():
        absent.append('EGL')
    found = [f'{tool} is missing. Install it: {cure(tool)}' for tool in absent]
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        found.insert(
            0,
            f'Python {version[0]}.{version[1]} ({sys.executable}) does not fit: ROS 2 wheels '
            f'exist for Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}. Install one '
            'and name it: make setup PYTHON=python3.12',
        )
    return found


def egl_renders() -> bool:
    """Return whether EGL opens a device, if only a software one; MuJoCo renders with it."""
    try:
        egl = ctypes.CDLL('libEGL.so.1')
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [
        egl.eglGetProcAddress(name)
        for name in (b'eglQueryDevicesEXT', b'eglGetPlatformDisplayEXT')
    ]
    if not all(addresses):
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int()
    query(addresses[0])(len(devices), devices, ctypes.byref(count))
    egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    return any(
        egl.eglInitialize(display(addresses[1])(EGL_PLATFORM_DEVICE_EXT, device, None), None, None)
        for device in devices[: count.value]
    )


def cure(tool: str) -> str:
    """Return the command that installs `tool` on this distribution."""
    debian, fedora = CURES[tool]
    if shutil.which('dnf') and not shutil.which('apt-get'):
        return f'sudo dnf install {fedora}'
    return f'sudo apt-get install {debian}'
