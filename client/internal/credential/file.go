package credential

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
)

const (
	// maxFileBytes bounds a file: a token, and white space around it.
	maxFileBytes = 4 << 10
	// openToOthers are the rights that no user outside of the file's group may have, and what its group may not have.
	openToOthers = 0o027
)

// read returns the token that a file holds. Its errors name the file, and hold nothing of what is in it.
func read(path string) (string, error) {
	if path == "" {
		return "", errors.New("the name of the token file is empty")
	}
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", unreadable(path, err)
	case info.IsDir():
		return "", fmt.Errorf("the token file %s is a directory; name the file in it that holds the token", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("the token file %s is not a regular file; it is read again and again", path)
	case info.Mode().Perm()&openToOthers != 0:
		return "", fmt.Errorf("the token file %s is open to others than its owner (mode %04o), and a token is a secret; close it: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", unreadable(path, err)
	}
	text := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxFileBytes:
		return "", fmt.Errorf("the token file %s is larger than 4 KiB; it must hold a token and nothing else", path)
	case text == "":
		return "", fmt.Errorf("the token file %s is empty; it must hold a token", path)
	case strings.ContainsAny(text, " \t\r\n"):
		return "", fmt.Errorf("the token file %s holds more than one word; it must hold a token and nothing else", path)
	}
	if _, err := accesstoken.Check(text); err != nil {
		return "", fmt.Errorf("the token file %s: %w", path, err)
	}
	return text, nil
}

func unreadable(path string, err error) error {
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("the token file %s cannot be read: %w", path, err)
}
