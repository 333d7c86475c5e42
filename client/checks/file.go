package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// clockStep is how far ahead of this machine's clock a file's time may be without a warning.
const clockStep = time.Minute

// FileAge returns a check that fails when the file, or directory, at path was last changed longer than max ago, or is
// not there: a backup, an export, the heartbeat of a job. max must be above zero. A time more than a minute ahead
// of this machine's clock is a warning, because such a file would not become old.
func FileAge(name, path string, max time.Duration) Check {
	c := &readymade{name: name, run: func(context.Context) error { return fileAge(path, max) }}
	switch {
	case path == "":
		c.err = errors.New("FileAge needs a path; it is empty")
	case max <= 0:
		c.err = errors.New("the greatest age must be above zero")
	}
	return c
}

func fileAge(path string, max time.Duration) error {
	info, err := os.Stat(path)
	if err != nil {
		return fileError(path, err)
	}
	switch age := time.Since(info.ModTime()); {
	case age > max:
		return fmt.Errorf("%s: last changed %s ago, at most %s is allowed", path, span(age), span(max))
	case age < -clockStep:
		return Degraded(fmt.Errorf("%s: its time is %s ahead of this machine's clock", path, span(-age)))
	}
	return nil
}

func fileError(path string, err error) error {
	why := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		why = "it may not be read"
	default:
		if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		why = foreign(err.Error())
	}
	return &wordedError{path + ": " + why, err}
}
