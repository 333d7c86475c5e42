package healthserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// This file keeps which names are switched off, for a restart while the registry cannot be reached.

const (
	stateVersion  = 1
	stateMagic    = `{"rollcall_health_state":` // every state file begins so
	maxStateBytes = 64 << 10
)

// state is what the file holds, as JSON.
type state struct {
	Version  int       `json:"rollcall_health_state"`
	Service  string    `json:"service"`
	Instance string    `json:"instance"` // host:port; "" if there is none
	Off      []offName `json:"off"`
}

// offName is a name that switches the process off.
type offName struct {
	Name     string `json:"name"`
	Cluster  string `json:"cluster"` // that said so
	Revision int64  `json:"revision"`
	// Override is the pattern of the override that decides; "": it is reported so.
	Override string    `json:"override,omitempty"`
	Expires  time.Time `json:"expires,omitzero"` // of the override; zero: never
}

func newOffName(name string, o *view.Opinion) offName {
	n := offName{Name: name, Cluster: o.Cluster, Revision: o.Revision, Override: o.Record.GetOverride().GetPattern()}
	if end := o.Record.GetOverride().GetExpireTime(); end != nil {
		n.Expires = end.AsTime()
	}
	return n
}

// opinion is what n was made of, as far as it matters.
func (n offName) opinion() view.Opinion {
	record := &rollcallv1.ServiceRecord{Service: n.Name, Status: client.NotServing}
	if n.Override != "" {
		record.Override = &rollcallv1.Override{Pattern: n.Override, Status: client.NotServing}
		if !n.Expires.IsZero() {
			record.Override.ExpireTime = timestamppb.New(n.Expires)
		}
	}
	return view.Opinion{Off: true, Heard: true, Status: client.NotServing, Record: record, Revision: n.Revision, Cluster: n.Cluster}
}

// stateFile reads and writes the file. It fails without harm: one line in the log.
type stateFile struct {
	path   string
	holds  state // last read or written
	logger *slog.Logger

	foreign bool // it is not ours to write
	written bool // holds is in the file
	failed  bool // a write failed, and it was logged
	newest  chan []offName
}

func newStateFile(path, service, instance string, logger *slog.Logger) *stateFile {
	return &stateFile{
		path:   path,
		holds:  state{Version: stateVersion, Service: service, Instance: instance},
		logger: logger.With("state_file", path),
		newest: make(chan []offName, 1), // the newest wins
	}
}

// errDamaged is of a file that is ours to replace.
var errDamaged = errors.New("it is damaged")

// load returns the opinions that the file holds; none if it cannot be used.
func (f *stateFile) load() map[string]view.Opinion {
	st, err := f.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errDamaged):
		f.logger.Warn("the state file is ignored, and will be replaced", "error", err)
		return nil
	case err != nil:
		f.foreign = true
		f.logger.Warn("the state file cannot be used and is left as it is; give another path, or remove the file", "error", err)
		return nil
	}
	f.holds, f.written = st, true
	initial := map[string]view.Opinion{}
	for _, n := range st.Off {
		initial[n.Name] = n.opinion()
	}
	return initial
}

func (f *stateFile) read() (state, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return state{}, err
	}
	if !info.Mode().IsRegular() {
		return state{}, errors.New("it is not a regular file")
	}
	file, err := os.Open(f.path)
	if err != nil {
		return state{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxStateBytes+1))
	if err != nil {
		return state{}, err
	}
	return f.parse(data)
}

// parse reads the content of a file.
func (f *stateFile) parse(data []byte) (state, error) {
	ours := bytes.HasPrefix(data, []byte(stateMagic)) || len(bytes.Trim(data, "\x00")) == 0
	var st state
	switch err := json.Unmarshal(data, &st); {
	case !ours || len(data) > maxStateBytes:
		return state{}, errors.New("it is not a state file of a health server")
	case err != nil:
		return state{}, fmt.Errorf("%w: %v", errDamaged, err)
	case st.Version != stateVersion:
		return state{}, fmt.Errorf("it has version %d; this program knows version %d", st.Version, stateVersion)
	case st.Service != f.holds.Service || st.Instance != f.holds.Instance:
		return state{}, fmt.Errorf("it belongs to service %q, instance %q", st.Service, st.Instance)
	}
	for _, n := range st.Off {
		if n.Name != st.Service && (st.Instance == "" || n.Name != st.Service+"/"+st.Instance || n.Override == "") {
			return state{}, fmt.Errorf("%w: it names %q", errDamaged, n.Name)
		}
	}
	return st, nil
}

// offer has off written soon. It does not wait for the disk.
func (f *stateFile) offer(off []offName) {
	for {
		select {
		case f.newest <- off:
			return
		default:
		}
		select {
		case <-f.newest:
		default:
		}
	}
}

// run writes what is offered, until ctx ends.
func (f *stateFile) run(ctx context.Context) {
	for {
		select {
		case off := <-f.newest:
			f.keep(off)
			continue
		default:
		}
		select {
		case off := <-f.newest:
			f.keep(off)
		case <-ctx.Done():
			return
		}
	}
}

// keep writes off, if the file does not hold it.
func (f *stateFile) keep(off []offName) {
	if f.foreign || f.written && slices.Equal(off, f.holds.Off) {
		return
	}
	st := f.holds
	st.Off = off
	if err := f.write(st); err != nil {
		f.written = false
		if !f.failed {
			f.failed = true
			f.logger.Warn("the state file cannot be written; a restart without the registry forgets what is switched off", "error", err)
		}
		return
	}
	f.holds, f.written, f.failed = st, true, false
}

// write replaces the file, so that it is whole also after a loss of power.
func (f *stateFile) write(st state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	temporary := f.path + ".tmp"
	if err := writeSynced(temporary, append(data, '\n')); err != nil {
		return err
	}
	if err := os.Rename(temporary, f.path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
