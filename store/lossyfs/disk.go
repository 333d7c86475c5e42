package lossyfs

import (
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// sector is the least that a disk writes at once.
const sector = 512

// Disk is a file system in memory that knows what of it is durable.
type Disk struct {
	power *Power

	mu    sync.Mutex // guards the following, and all inodes
	nodes map[uint64]*inode
	last  uint64
	root  *inode
}

// inode is a file or a directory: as it is seen, and as it is durable.
type inode struct {
	number uint64
	dir    bool
	mode   uint32
	name   string // where it was made or renamed to, for events
	parent string

	data    []byte
	durable []byte
	dirty   []span // of data, not flushed

	entries        map[string]*inode
	durableEntries map[string]*inode
}

type span struct{ from, to int }

// NewDisk returns an empty disk.
func NewDisk(p *Power) *Disk {
	d := &Disk{power: p, nodes: map[uint64]*inode{}}
	d.root = d.add(true, 0o755)
	return d
}

func (d *Disk) add(dir bool, mode uint32) *inode {
	d.last++
	n := &inode{number: d.last, dir: dir, mode: mode & 0o7777}
	if dir {
		n.entries, n.durableEntries = map[string]*inode{}, map[string]*inode{}
	}
	d.nodes[n.number] = n
	return n
}

// do runs f, if there is power, with mu held.
func (d *Disk) do(e Event, f func() syscall.Errno) syscall.Errno {
	if !d.power.begin(e) {
		return syscall.EIO
	}
	defer d.power.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

// on runs f with an inode.
func (d *Disk) on(op Op, number uint64, f func(*inode) syscall.Errno) syscall.Errno {
	d.mu.Lock()
	n := d.nodes[number]
	e := Event{Op: op}
	if n != nil {
		e.Name, e.Dir = n.name, n.parent
	}
	d.mu.Unlock()
	if n == nil {
		return syscall.ESTALE
	}
	return d.do(e, func() syscall.Errno { return f(n) })
}

// in runs f with a directory in which name is to be changed.
func (d *Disk) in(op Op, number uint64, name string, f func(dir *inode) syscall.Errno) syscall.Errno {
	d.mu.Lock()
	n := d.nodes[number]
	e := Event{Op: op, Name: name}
	if n != nil {
		e.Dir = n.name
	}
	d.mu.Unlock()
	if n == nil || !n.dir {
		return syscall.ENOTDIR
	}
	return d.do(e, func() syscall.Errno { return f(n) })
}

// make creates a file or a directory.
func (d *Disk) make(parent uint64, name string, dir bool, mode uint32) (made *inode, errno syscall.Errno) {
	op := Create
	if dir {
		op = Mkdir
	}
	errno = d.in(op, parent, name, func(in *inode) syscall.Errno {
		if in.entries[name] != nil {
			return syscall.EEXIST
		}
		made = d.add(dir, mode)
		made.name, made.parent = name, in.name
		in.entries[name] = made
		return 0
	})
	return made, errno
}

func (d *Disk) lookup(parent uint64, name string) (found *inode, errno syscall.Errno) {
	errno = d.on("", parent, func(in *inode) syscall.Errno {
		if found = in.entries[name]; found == nil {
			return syscall.ENOENT
		}
		return 0
	})
	return found, errno
}

func (d *Disk) remove(parent uint64, name string, dir bool) syscall.Errno {
	return d.in(Remove, parent, name, func(in *inode) syscall.Errno {
		n := in.entries[name]
		switch {
		case n == nil:
			return syscall.ENOENT
		case dir && !n.dir:
			return syscall.ENOTDIR
		case !dir && n.dir:
			return syscall.EISDIR
		case len(n.entries) > 0:
			return syscall.ENOTEMPTY
		}
		delete(in.entries, name)
		return 0
	})
}

func (d *Disk) rename(from uint64, name string, to uint64, newName string) syscall.Errno {
	return d.in(Rename, to, newName, func(in *inode) syscall.Errno {
		out := d.nodes[from]
		if out == nil || out.entries[name] == nil {
			return syscall.ENOENT
		}
		n := out.entries[name]
		if old := in.entries[newName]; old != nil && (old.dir != n.dir || len(old.entries) > 0) {
			return syscall.EEXIST
		}
		delete(out.entries, name)
		in.entries[newName] = n
		n.name, n.parent = newName, in.name
		return 0
	})
}

// exchange has two files or directories change places.
func (d *Disk) exchange(from uint64, name string, to uint64, otherName string) syscall.Errno {
	return d.in(Rename, to, otherName, func(in *inode) syscall.Errno {
		out := d.nodes[from]
		if out == nil || out.entries[name] == nil || in.entries[otherName] == nil {
			return syscall.ENOENT
		}
		n, other := out.entries[name], in.entries[otherName]
		out.entries[name], in.entries[otherName] = other, n
		n.name, n.parent, other.name, other.parent = otherName, in.name, name, out.name
		return 0
	})
}

func (d *Disk) link(number, to uint64, name string) (linked *inode, errno syscall.Errno) {
	errno = d.in(Link, to, name, func(in *inode) syscall.Errno {
		if in.entries[name] != nil {
			return syscall.EEXIST
		}
		if linked = d.nodes[number]; linked == nil || linked.dir {
			return syscall.EPERM
		}
		in.entries[name] = linked
		return 0
	})
	return linked, errno
}

func (d *Disk) write(number uint64, data []byte, at int) syscall.Errno {
	return d.on(Write, number, func(n *inode) syscall.Errno {
		n.resize(max(len(n.data), at+len(data)))
		copy(n.data[at:], data)
		n.dirty = append(n.dirty, span{at, at + len(data)})
		return 0
	})
}

func (d *Disk) truncate(number uint64, size int) syscall.Errno {
	return d.on(Truncate, number, func(n *inode) syscall.Errno {
		n.resize(size)
		return 0
	})
}

// allocate is fallocate: the file is at least so long.
func (d *Disk) allocate(number uint64, size int) syscall.Errno {
	return d.on(Truncate, number, func(n *inode) syscall.Errno {
		n.resize(max(size, len(n.data)))
		return 0
	})
}

// resize gives a file a length. What is added is zeros.
func (n *inode) resize(size int) {
	old := len(n.data)
	if size < old {
		n.data = n.data[:size:size] // what is added again is new memory
		return
	}
	n.data = slices.Grow(n.data, size-old)[:size]
	if size > old && old < len(n.durable) {
		n.dirty = append(n.dirty, span{old, size})
	}
}

// sync makes the content of a file durable.
func (d *Disk) sync(number uint64) syscall.Errno {
	return d.on(Sync, number, func(n *inode) syscall.Errno {
		n.flush()
		return 0
	})
}

func (n *inode) flush() {
	if have := len(n.durable); len(n.data) < have {
		n.durable = n.durable[:len(n.data):len(n.data)]
	} else {
		n.durable = slices.Grow(n.durable, len(n.data)-have)[:len(n.data)]
	}
	for _, s := range n.dirty {
		if s.from < len(n.data) {
			copy(n.durable[s.from:], n.data[s.from:min(s.to, len(n.data))])
		}
	}
	n.dirty = nil
}

// syncDir makes the names in a directory durable.
func (d *Disk) syncDir(number uint64) syscall.Errno {
	return d.on(SyncDir, number, func(n *inode) syscall.Errno {
		n.durableEntries = maps.Clone(n.entries)
		return 0
	})
}

// After returns what is left of a disk whose power was cut, on another Power.
func (d *Disk) After(p *Power, loss Loss) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := &Disk{power: p, nodes: map[uint64]*inode{}}
	copies := map[*inode]*inode{} // a file may have two names
	left.root = left.restore(d.root, loss, copies)
	return left
}

func (d *Disk) restore(old *inode, loss Loss, copies map[*inode]*inode) *inode {
	if n := copies[old]; n != nil {
		return n
	}
	n := d.add(old.dir, old.mode)
	n.name, n.parent = old.name, old.parent
	copies[old] = n
	if old.dir {
		entries := old.durableEntries
		if loss.half() {
			entries = old.entries
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			n.entries[name] = d.restore(entries[name], loss, copies)
		}
		n.durableEntries = maps.Clone(n.entries)
		return n
	}
	size := len(old.durable)
	if loss.half() {
		size = len(old.data)
	}
	n.data = make([]byte, size)
	copy(n.data, old.durable)
	for _, s := range old.dirty {
		for at := s.from; at < s.to; {
			next := min((at/sector+1)*sector, s.to)
			if loss.half() && at < size && at < len(old.data) {
				copy(n.data[at:min(next, size)], old.data[at:min(next, len(old.data))])
			}
			at = next
		}
	}
	n.durable = slices.Clone(n.data)
	return n
}

// Names lists the paths of all files and directories as they are seen, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	var walk func(n *inode, at string)
	walk = func(n *inode, at string) {
		for name, child := range n.entries {
			full := path.Join(at, name)
			names = append(names, full)
			walk(child, full)
		}
	}
	walk(d.root, "")
	slices.Sort(names)
	return names
}

// ReadFile returns the content of a file as it is seen, or os.ErrNotExist.
func (d *Disk) ReadFile(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.root
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if n = n.entries[part]; n == nil {
			return nil, &os.PathError{Op: "read", Path: name, Err: os.ErrNotExist}
		}
	}
	return slices.Clone(n.data), nil
}

// On moves a disk to another Power with all that is on it as it is seen: only processes were killed.
func (d *Disk) On(p *Power) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power = p
	return d
}
