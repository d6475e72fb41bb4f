"""`install.py PEER FOLDER` makes FOLDER/PEER, a virtual environment with what PEER/requirements.txt pins.

Returns at once where it is there already and the requirements have not changed. Where it cannot, it says why on
standard error and ends with 1.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    peers = sorted(
        name for name in os.listdir(HERE) if os.path.exists(os.path.join(HERE, name, "requirements.txt"))
    )
    if len(sys.argv) != 3 or sys.argv[1] not in peers:
        fail(f"usage: install.py {{{','.join(peers)}}} FOLDER")
    peer, folder = sys.argv[1], os.path.abspath(sys.argv[2])
    requirements = os.path.join(HERE, peer, "requirements.txt")
    with open(requirements, "rb") as file:
        wanted = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()
    home = os.path.join(folder, peer)
    done = os.path.join(home, "installed")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{peer}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if read(done) == wanted:
            return
        shutil.rmtree(home, ignore_errors=True)
        try:
            venv.create(home, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"{peer}: no virtual environment: {error}")
        pip = [os.path.join(home, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        pip += ["--disable-pip-version-check", "--requirement", requirements]
        result = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            fail(f"{peer}: pip could not install it on Python {sys.version.split()[0]}: {' '.join(lines[-1:])[:400]}")
        with open(done, "w") as file:
            file.write(wanted)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def fail(reason):
    sys.exit(f"install.py: {reason}")


if __name__ == "__main__":
    main()
