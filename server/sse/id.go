package sse

import (
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// eventID says how far in a stream its reader has come: REVISION@CLUSTER, and :TAG after it if the state as of the
// revision depends on what was asked for, and by whom. A revision alone is one too, from somebody who knows what it is
// a revision of.
type eventID struct {
	revision int64
	cluster  string // "": not said
	tag      string // "": not said
}

func (id eventID) append(b []byte) []byte {
	b = strconv.AppendInt(b, id.revision, 10)
	b = append(append(b, '@'), id.cluster...)
	if id.tag != "" {
		b = append(append(b, ':'), id.tag...)
	}
	return b
}

// maxIDBytes is more than any id has that a node makes.
const maxIDBytes = 128

// parseID reads what eventID.append wrote, or a part of it from the left.
func parseID(field, text string) (eventID, *rpcerror.Failure) {
	revision, rest, _ := strings.Cut(text, "@")
	cluster, tag, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || n < 0 || n == math.MaxInt64 || len(text) > maxIDBytes { // nothing follows the largest number
		return eventID{}, rpcerror.Invalid(rpcerror.Violation{Field: field,
			Description: fmt.Sprintf("is %s; it must be the id of an event of this stream, as 42@3f9a, or a revision", rpcerror.QuoteShort(text))})
	}
	return eventID{n, cluster, tag}, nil
}

// tagOf is the same for the same words, on all nodes.
func tagOf(words ...string) string {
	h := fnv.New32a()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return fmt.Sprintf("%08x", h.Sum32())
}
