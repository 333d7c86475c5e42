package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	devMarkerFile = "rollcall-dev.json"
	devLockFile   = "dev.lock"
	devMostNodes  = 9
)

// devMarker says whose a directory is. Without one, nothing in a directory is ever removed.
type devMarker struct {
	About    string `json:"about"`
	Nodes    int    `json:"nodes"`
	BasePort int    `json:"base_port"` // of the last run; for messages
}

// devDirectory is the data of a dev cluster: a marker, a lock, and a directory for each node.
type devDirectory struct {
	path   string
	marker devMarker // Nodes 0: new
	lock   *os.File
	made   bool // by this process, just now
}

// openDevDirectory takes the directory at path, making it if it is missing. It refuses one that is in
// use, and one with other things in it.
func openDevDirectory(path string) (*devDirectory, error) {
	d := &devDirectory{path: path}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		d.made = true
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	switch b, err := os.ReadFile(filepath.Join(path, devMarkerFile)); {
	case err == nil:
		if err := json.Unmarshal(b, &d.marker); err != nil || d.marker.Nodes < 1 || d.marker.Nodes > devMostNodes {
			return nil, fmt.Errorf("%s in %s is damaged; remove the directory or choose another with --data", devMarkerFile, path)
		}
	case errors.Is(err, fs.ErrNotExist):
		if err := d.foreign(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("read the data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, devLockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	ours, err := lockFile(lock)
	if err == nil && !ours {
		err = fmt.Errorf(`%s is in use by another "rollcall dev"%s; stop that one, or choose another --data and --base-port`, path, d.where())
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	d.lock = lock
	return d, nil
}

// where says where a cluster on these data is to be found.
func (d *devDirectory) where() string {
	if d.marker.BasePort == 0 {
		return ""
	}
	return fmt.Sprintf(" at port %d", d.marker.BasePort)
}

// foreign refuses a directory with anything in it: it has no marker, so that is not ours.
func (d *devDirectory) foreign() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read the data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != devLockFile {
			return fmt.Errorf(`%s holds %s, which "rollcall dev" did not put there; choose another directory with --data`, d.path, e.Name())
		}
	}
	return nil
}

// begin marks the directory as that of a cluster of n nodes. With fresh it first removes the data of
// the nodes, and nothing else.
func (d *devDirectory) begin(n, basePort int, fresh bool) error {
	if fresh {
		for i := 1; i <= devMostNodes; i++ {
			if err := os.RemoveAll(filepath.Join(d.path, nodeName(i))); err != nil {
				return fmt.Errorf("remove old data: %w", err)
			}
		}
	}
	d.marker = devMarker{About: `data of "rollcall dev"; its --fresh removes the nodes' directories`, Nodes: n, BasePort: basePort}
	b, err := json.Marshal(d.marker)
	if err != nil {
		return err
	}
	name := filepath.Join(d.path, devMarkerFile)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("mark the data directory: %w", err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("mark the data directory: %w", err)
	}
	return nil
}

// close releases the directory. Where nothing was begun it leaves nothing behind.
func (d *devDirectory) close() {
	if d.made && d.marker.Nodes == 0 {
		os.Remove(filepath.Join(d.path, devLockFile))
		os.Remove(d.path)
	}
	d.lock.Close()
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }
