package authn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// staticTokenName is who shows the token of Static's file.
const staticTokenName = StaticIdentity + "admin-token"

// staticName is the identity of an administrator that is given by the identity of its certificate.
func staticName(identity string) string {
	return StaticIdentity + strings.TrimPrefix(identity, limits.CertIdentity)
}

// Static are the administrators of one node's own configuration. They may do everything through this node, whatever the
// cluster has stored: they are the way back in for who has lost all others. nil: there are none.
type Static struct {
	identities []string
	file       string
	token      atomic.Pointer[[sha256.Size]byte] // nil: none
}

// NewStatic makes administrators of the holders of certificates (their identities are "cert:NAME") and of the token whose
// text, or the SHA-256 of whose secret in hexadecimal, stands in a file; "": none. The error says which of them is wrong.
func NewStatic(identities []string, tokenFile string) (*Static, error) {
	for _, identity := range identities {
		name, ok := strings.CutPrefix(identity, limits.CertIdentity)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s is no identity of a certificate; it must begin with %q", rpcerror.QuoteShort(identity), limits.CertIdentity)
		case name == "":
			return nil, fmt.Errorf("%q names nobody; the name in a certificate must follow", identity)
		}
		if bad := limits.Actor(staticName(identity)); bad != nil {
			return nil, fmt.Errorf("%s cannot be an identity: %s", rpcerror.QuoteShort(identity), bad.Plain())
		}
	}
	s := &Static{identities: slices.Clone(identities), file: tokenFile}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// HasFile says whether there is something to read again.
func (s *Static) HasFile() bool { return s != nil && s.file != "" }

// Reload reads the file of the token again. If it is wrong the old token stays, and the error says what is wrong.
func (s *Static) Reload() error {
	if !s.HasFile() {
		return nil
	}
	sum, err := readTokenFile(s.file)
	if err != nil {
		return err
	}
	s.token.Store(&sum)
	return nil
}

func (s *Static) hasIdentity(identity string) bool {
	return s != nil && slices.Contains(s.identities, identity)
}

func (s *Static) hasToken(sum [sha256.Size]byte) bool {
	if s == nil {
		return false
	}
	own := s.token.Load()
	return own != nil && *own == sum
}

// maxTokenFileBytes is plenty for a token, or a hash, and what tools write around it.
const maxTokenFileBytes = 1 << 10

// readTokenFile returns the SHA-256 of the secret of the token in a file. The error holds nothing of the file's content.
func readTokenFile(path string) (sum [sha256.Size]byte, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return sum, unreadable(path, err)
	case info.IsDir():
		return sum, fmt.Errorf("%s is a directory; name a file with a token", path)
	case !info.Mode().IsRegular():
		return sum, fmt.Errorf("%s is not a regular file", path) // opening a named pipe would wait for its writer
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return sum, unreadable(path, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return sum, unreadable(path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTokenFileBytes+1))
	if err != nil {
		return sum, unreadable(path, err)
	}
	if len(data) > maxTokenFileBytes {
		return sum, fmt.Errorf("%s is larger than 1 KiB; it is no file of a token", path)
	}
	text := strings.TrimSpace(string(data))
	secret := true // also what is no token may be one nearly
	switch hash, bad := hex.DecodeString(text); {
	case text == "":
		return sum, fmt.Errorf("%s is empty; write a token into it, or the SHA-256 of its secret", path)
	case bad == nil && len(hash) == sha256.Size:
		copy(sum[:], hash)
		secret = false
	default:
		if sum, err = accesstoken.Check(text); err != nil {
			return [sha256.Size]byte{}, fmt.Errorf("%s holds neither a token nor 64 hexadecimal digits of a SHA-256: %w", path, err)
		}
	}
	if err := closedEnough(info.Mode().Perm(), secret); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%s %w", path, err)
	}
	return sum, nil
}

// closedEnough says who may do too much with a file.
func closedEnough(mode fs.FileMode, secret bool) error {
	switch {
	case runtime.GOOS == "windows": // which has no such modes
	case mode&0o022 != 0:
		return fmt.Errorf("can be written by others than its owner (mode %04o), who could make themselves administrators; close it: chmod 600", mode)
	case secret && mode&0o004 != 0:
		return fmt.Errorf("can be read by everybody (mode %04o), and a token is a secret; close it: chmod 600", mode)
	}
	return nil
}

func unreadable(path string, err error) error {
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("%s cannot be read: %w", path, err)
}
