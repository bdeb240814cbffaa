"""A loop that hangs is seen; one that turns, or has ended, is not."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from dicom_node.services import listening, unix
from dicom_node.services.notify import Notifier, notifier, passed_socket
from dicom_node.services.threads import Bell, Heartbeats, Stopping, Threads


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_is_late_once_a_turn_takes_longer_than_it_may():
    clock = Clock()
    heartbeats = Heartbeats(clock)
    heartbeats.expect("quick", 5)
    heartbeats.expect("slow", 50)
    clock.now += 6
    assert heartbeats.late() == ("quick",)
    heartbeats.beat("quick")
    assert heartbeats.late() == ()
    clock.now += 60
    heartbeats.forget("slow")
    assert heartbeats.late() == ("quick",)
    heartbeats.beat("a stranger")
    assert heartbeats.late() == ("quick",)


def test_asking_whether_to_stop_is_the_sign_of_life():
    clock = Clock()
    heartbeats = Heartbeats(clock)
    above = Stopping(heartbeats)
    own = Stopping(heartbeats, above)
    heartbeats.expect(threading.current_thread().name, 5)
    clock.now += 6
    assert heartbeats.late()
    assert not own.is_set()
    assert not heartbeats.late()
    above.set()
    assert own.is_set()


def test_a_thread_that_ended_is_not_watched_and_one_that_failed_stops_all():
    threads = Threads()
    threads.start("short", lambda: None, turn_s=0)
    threads.start("broken", lambda: 1 / 0, turn_s=0)
    threads.join(60)
    assert threads.heartbeats.late() == ()
    assert threads.failed
    assert threads.stopping.is_set()


def test_systemd_hears_what_it_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
        told = notifier(environment)
        assert (environment, told.every_s) == ({}, 5.0)
        told.ready("up")
        told.alive()
        told.stopping()
        heard = [manager.recv(200).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=up", "WATCHDOG=1", "STOPPING=1\nSTATUS=finishing what is in hand"]
    told.alive()  # a manager that is gone troubles nobody
    Notifier().ready("nobody listens")


def test_only_what_is_passed_to_this_very_process_is_taken():
    assert passed_socket({}) is None
    assert passed_socket({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) is None
    assert notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}) == Notifier("\0x", None)
    assert passed_socket({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}) is None


def test_c15_without_a_thread_who_waits_is_woken_at_once_and_nothing_is_left_to_join(monkeypatch):
    bell, threads = Bell(), Threads()
    bell.ring()
    with monkeypatch.context() as patch:

        def none_left(_thread):
            message = "can't start new thread"
            raise RuntimeError(message)

        patch.setattr(threading.Thread, "start", none_left)
        bell.ring_soon()
        assert bell.count() == 2
        with pytest.raises(RuntimeError):
            threads.start("loop", lambda: None)
    threads.join(60.0)


def test_c15_a_connection_that_cannot_be_taken_waits_and_ends_no_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "_AGAIN_S", 0.0)
    with unix.listen(tmp_path / "sock") as listener, socket.socket(socket.AF_UNIX) as peer:
        listener.settimeout(60.0)
        with unix.socket_address(tmp_path / "sock") as address:
            peer.connect(address)
        with monkeypatch.context() as patch:

            def no_descriptor(_listener):
                raise OSError(errno.EMFILE, "Too many open files")

            patch.setattr(socket.socket, "accept", no_descriptor)
            assert listening.accept(listener) is None
        taken = listening.accept(listener)
        assert taken is not None
        taken.close()
        listener.settimeout(0.001)
        assert listening.accept(listener) is None
