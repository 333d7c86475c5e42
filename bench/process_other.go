//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

var errNeedsLinux = errors.New("the memory and processor time of a process are read from Linux's /proc")

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func cpuTime(int) (time.Duration, error) { return 0, errNeedsLinux }

func residentBytes(int) (anonymous, files int64, err error) { return 0, 0, errNeedsLinux }
