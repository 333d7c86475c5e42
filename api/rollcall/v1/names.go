package rollcallv1

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameBytes is the longest service name.
const MaxNameBytes = 256

// OwnPrefix begins the names that a node answers for itself; so is "". They are never replicated
// and cannot be set.
const OwnPrefix = "rollcall."

// The node's own names.
const (
	OwnReady  = ""                // reads, and a leader confirmed lately
	OwnLive   = "rollcall.live"   // the process answers
	OwnReads  = "rollcall.reads"  // the map is loaded, not draining
	OwnLeader = "rollcall.leader" // this node leads
)

// CheckName says what is wrong with name as one to be written; nil if nothing is.
func CheckName(name string) error {
	if name == "" {
		return errors.New(`is empty; "" is the node's own`)
	}
	if err := CheckLookup(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, OwnPrefix) {
		return fmt.Errorf("%q begins with %q, which is kept for the node's own names", name, OwnPrefix)
	}
	for _, r := range name {
		if unicode.IsSpace(r) || r == '*' || r == '=' || r == ',' {
			return fmt.Errorf("%q holds %q; white space, '*', '=' and ',' are not allowed", name, r)
		}
	}
	return nil
}

// CheckLookup says what is wrong with name as one to be looked up or watched; nil if nothing is. It
// is laxer than CheckName, as grpc.health.v1 has no rules for names, and strict enough that nobody
// can make a node remember what could never be set.
func CheckLookup(name string) error {
	if len(name) > MaxNameBytes {
		return fmt.Errorf("is %d bytes long; at most %d are allowed", len(name), MaxNameBytes)
	}
	if !utf8.ValidString(name) {
		return errors.New("is not valid UTF-8")
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%q holds the control character %U", name, r)
		}
	}
	return nil
}
