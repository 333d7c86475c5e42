package lossyfs

import (
	"fmt"
	"io"
	"log"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mounted is a disk that is mounted.
type Mounted struct {
	server *fuse.Server
}

// Mount makes a disk a file system at a directory. The error says why this machine cannot.
func (d *Disk) Mount(dir string) (*Mounted, error) {
	server, err := fuse.NewServer(&front{fuse.NewDefaultRawFileSystem(), d}, dir, &fuse.MountOptions{
		FsName: "lossyfs", Name: "lossyfs", DirectMount: true, DisableXAttrs: true, DisableReadDirPlus: true,
		MaxWrite: 1 << 20,
		Logger:   log.New(io.Discard, "", 0), // it tells of each end of a mount
	})
	if err != nil {
		return nil, fmt.Errorf("mount a FUSE file system: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, fmt.Errorf("mount a FUSE file system: %w", err)
	}
	return &Mounted{server}, nil
}

// unmountPatience is how long Unmount waits for the kernel.
const unmountPatience = 30 * time.Second

// Unmount ends the file system. Nobody may use it any more. The kernel may let go of the files of a process some time
// after the process has ended: Unmount tries again for 30 s.
func (m *Mounted) Unmount() error {
	for begun := time.Now(); ; {
		err := m.server.Unmount() // five tries, within 0.3 s
		if err == nil {
			break
		}
		if time.Since(begun) > unmountPatience {
			return fmt.Errorf("unmount: %w", err)
		}
	}
	m.server.Wait()
	return nil
}

// front is the disk as the kernel sees it.
type front struct {
	fuse.RawFileSystem
	disk *Disk
}

// validity is how long the kernel may remember names and attributes: nobody changes them but through it.
const validity = time.Minute

func status(e syscall.Errno) fuse.Status { return fuse.Status(e) }

func (n *inode) attr(out *fuse.Attr) {
	kind := uint32(syscall.S_IFREG)
	if n.dir {
		kind = syscall.S_IFDIR
	}
	*out = fuse.Attr{Ino: n.number, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Mode: kind | n.mode, Nlink: 1, Blksize: 4096}
}

// entry needs the disk's power and mu, or an inode that nobody else knows yet.
func (f *front) entry(n *inode, out *fuse.EntryOut) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	out.NodeId, out.Generation = n.number, 1
	n.attr(&out.Attr)
	out.SetEntryTimeout(validity)
	out.SetAttrTimeout(validity)
}

func (f *front) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	n, errno := f.disk.lookup(h.NodeId, name)
	if errno == 0 {
		f.entry(n, out)
	}
	return status(errno)
}

func (f *front) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return status(f.disk.on("", in.NodeId, func(n *inode) syscall.Errno {
		n.attr(&out.Attr)
		out.SetTimeout(validity)
		return 0
	}))
}

func (f *front) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if size, ok := in.GetSize(); ok {
		if errno := f.disk.truncate(in.NodeId, int(size)); errno != 0 {
			return status(errno)
		}
	}
	return status(f.disk.on("", in.NodeId, func(n *inode) syscall.Errno {
		if mode, ok := in.GetMode(); ok {
			n.mode = mode & 0o7777
		}
		n.attr(&out.Attr)
		out.SetTimeout(validity)
		return 0
	}))
}

func (f *front) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	n, errno := f.disk.make(in.NodeId, name, true, in.Mode)
	if errno == 0 {
		f.entry(n, out)
	}
	return status(errno)
}

func (f *front) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	n, errno := f.disk.make(in.NodeId, name, false, in.Mode)
	if errno == 0 {
		f.entry(n, &out.EntryOut)
	}
	return status(errno)
}

func (f *front) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.disk.remove(h.NodeId, name, false))
}

func (f *front) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.disk.remove(h.NodeId, name, true))
}

func (f *front) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	switch in.Flags {
	case 0:
	case unix.RENAME_EXCHANGE:
		return status(f.disk.exchange(in.NodeId, oldName, in.Newdir, newName))
	default:
		return fuse.EINVAL
	}
	return status(f.disk.rename(in.NodeId, oldName, in.Newdir, newName))
}

func (f *front) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n, errno := f.disk.link(in.Oldnodeid, in.NodeId, name)
	if errno == 0 {
		f.entry(n, out)
	}
	return status(errno)
}

func (f *front) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return status(f.disk.on("", in.NodeId, func(*inode) syscall.Errno { return 0 }))
}

func (f *front) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	count := 0
	errno := f.disk.on("", in.NodeId, func(n *inode) syscall.Errno {
		if in.Offset < uint64(len(n.data)) {
			count = copy(buf, n.data[in.Offset:])
		}
		return 0
	})
	return fuse.ReadResultData(buf[:count]), status(errno)
}

func (f *front) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	errno := f.disk.write(in.NodeId, data, int(in.Offset))
	if errno != 0 {
		return 0, status(errno)
	}
	return uint32(len(data)), fuse.OK
}

func (f *front) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if in.Mode != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return status(f.disk.allocate(in.NodeId, int(in.Offset+in.Length)))
}

func (f *front) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return status(f.disk.sync(in.NodeId))
}

func (f *front) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (f *front) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return status(f.disk.on("", in.NodeId, func(*inode) syscall.Errno { return 0 }))
}

func (f *front) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return status(f.disk.on("", in.NodeId, func(n *inode) syscall.Errno {
		names := make([]string, 0, len(n.entries))
		for name := range n.entries {
			names = append(names, name)
		}
		slices.Sort(names)
		for i := in.Offset; i < uint64(len(names)); i++ {
			child := n.entries[names[i]]
			mode := uint32(syscall.S_IFREG)
			if child.dir {
				mode = syscall.S_IFDIR
			}
			if !out.AddDirEntry(fuse.DirEntry{Name: names[i], Ino: child.number, Mode: mode, Off: i + 1}) {
				break
			}
		}
		return 0
	}))
}

func (f *front) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return status(f.disk.syncDir(in.NodeId))
}

func (f *front) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = 1 << 24
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}
