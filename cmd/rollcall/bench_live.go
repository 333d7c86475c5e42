package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

const eraseLine = "\r\x1b[K"

// live shows line on standard error once a second, each in the place of the one before, if that is a
// terminal and people read it. Calling what it returns ends that and wipes the line.
func (a *app) live(line func(elapsed time.Duration) string) (stop func()) {
	if a.json() || !terminal(a.stderr) {
		return func() {}
	}
	return showLive(a.stderr, line)
}

func showLive(w io.Writer, line func(elapsed time.Duration) string) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(w, eraseLine+line(time.Since(start)))
			case <-end:
				fmt.Fprint(w, eraseLine)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// terminal says whether w is one. So is /dev/null by this, where nothing does harm.
func terminal(w io.Writer) bool {
	if l, ok := w.(*lockedWriter); ok {
		w = l.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
