package snapshot

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// Backup is a file that holds a snapshot stream.
type Backup struct {
	Meta   *logv1.RegistryMeta // of what it holds
	Bytes  int64
	SHA256 string // hexadecimal: the one that stands at its end, and is right
}

// CheckBackup reads a file through and says whose it is. The error wraps vfs.ErrDamaged if it is not a whole,
// right snapshot stream, vfs.ErrNewer, or is the disk's.
func CheckBackup(path string) (Backup, error) { return ReadBackup(path, nil) }

// ReadBackup is CheckBackup, and writes the registry file inside to registry, if that is not nil.
func ReadBackup(path string, registryFile io.Writer) (Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return Backup{}, err
	}
	defer f.Close()
	check := newChecker(registryFile)
	n, err := io.Copy(check, f)
	if err == nil {
		err = check.finish()
	}
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", path, err)
	}
	meta := check.header.GetMeta()
	if meta.GetIndex() == 0 || meta.GetTerm() == 0 || meta.GetClusterId() == "" {
		return Backup{}, fmt.Errorf("%s: %w: it is of no cluster", path, vfs.ErrDamaged)
	}
	return Backup{Meta: meta, Bytes: n, SHA256: hex.EncodeToString(check.tail)}, nil
}
