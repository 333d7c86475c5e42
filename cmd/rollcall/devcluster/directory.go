package devcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	markerFile   = "rollcall-dev.json"
	lockFileName = "dev.lock"
)

// marker says that a directory is one of "rollcall dev". Without it nothing in a directory is removed.
type marker struct {
	About    string `json:"about"`
	Nodes    int    `json:"nodes"`
	BasePort int    `json:"base_port"` // of the last run; for messages
}

// Directory holds the data of a dev cluster: a marker, a lock, and a directory for each node.
type Directory struct {
	path   string
	marker marker // Nodes 0: new
	lock   *os.File
	made   bool // by this process
}

// OpenDirectory locks the directory at path, and makes it if it is missing. It refuses a directory that is
// in use, and one that holds anything else.
func OpenDirectory(path string) (*Directory, error) {
	d := &Directory{path: path}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		d.made = true
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err // it says that the directory cannot be made
	}
	switch b, err := os.ReadFile(filepath.Join(path, markerFile)); {
	case err == nil:
		if err := json.Unmarshal(b, &d.marker); err != nil || d.marker.Nodes < 1 || d.marker.Nodes > MaxNodes {
			return nil, fmt.Errorf("%s in %s is damaged; remove the directory or choose another with --data", markerFile, path)
		}
	case errors.Is(err, fs.ErrNotExist):
		if err := d.foreign(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("read the data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFileName), os.O_CREATE|os.O_RDWR, 0o644)
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

// Nodes returns how many nodes the directory holds; 0 if it is new.
func (d *Directory) Nodes() int { return d.marker.Nodes }

// where says at which port the cluster on these data was last run.
func (d *Directory) where() string {
	if d.marker.BasePort == 0 {
		return ""
	}
	return fmt.Sprintf(" at port %d", d.marker.BasePort)
}

// foreign refuses a directory that has no marker and is not empty.
func (d *Directory) foreign() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read the data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFileName {
			return fmt.Errorf(`%s holds %s, which "rollcall dev" did not put there; choose another directory with --data`, d.path, e.Name())
		}
	}
	return nil
}

// Begin marks the directory as that of a cluster of n nodes. With fresh it first removes the data of the
// nodes, and nothing else.
func (d *Directory) Begin(n, basePort int, fresh bool) error {
	if fresh {
		for i := 1; i <= MaxNodes; i++ {
			if err := os.RemoveAll(filepath.Join(d.path, nodeName(i))); err != nil {
				return fmt.Errorf("remove old data: %w", err)
			}
		}
	}
	d.marker = marker{About: `data of "rollcall dev"; its --fresh removes the nodes' directories`, Nodes: n, BasePort: basePort}
	b, err := json.Marshal(d.marker)
	if err != nil {
		return err
	}
	name := filepath.Join(d.path, markerFile)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("mark the data directory: %w", err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("mark the data directory: %w", err)
	}
	return nil
}

// Close releases the directory. If this process made it and Begin was not called, it is removed.
func (d *Directory) Close() {
	if d.made && d.marker.Nodes == 0 {
		os.Remove(filepath.Join(d.path, lockFileName))
		os.Remove(d.path)
	}
	d.lock.Close()
}
