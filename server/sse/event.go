package sse

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
)

// retryTime is after how long a browser opens a stream again that has ended.
const retryTime = 2 * time.Second

// Names of events beside those of the messages.
const (
	eventOpen  = "open"
	eventError = "error"
)

// heartbeat is a comment. It shows whoever reads, and the proxies between, that the stream is alive.
var heartbeat = []byte(":\n\n")

// opened is the data of the first event.
type opened struct {
	ClusterID string `json:"cluster_id"`
	Revision  int64  `json:"revision"`
	// Resumed: the stream goes on from the event that was named. Else what its reader holds is to be forgotten.
	Resumed bool `json:"resumed"`
}

func appendRetry(b []byte) []byte {
	return append(strconv.AppendInt(append(b, "retry: "...), retryTime.Milliseconds(), 10), '\n')
}

// appendJSON appends an event whose data is anything that JSON has a form for.
func appendJSON(b []byte, name string, v any) ([]byte, error) {
	data, err := apijson.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(append(appendName(b, name), data...), "\n\n"...), nil
}

// appendMessage appends an event whose data is a message, and from which a stream can go on at id; nil: it cannot.
func appendMessage(b []byte, name string, id *eventID, m proto.Message) ([]byte, error) {
	if id != nil {
		b = append(id.append(append(b, "id: "...)), '\n')
	}
	b, err := apijson.Append(appendName(b, name), m) // on one line
	return append(b, "\n\n"...), err
}

func appendName(b []byte, name string) []byte {
	return append(append(append(b, "event: "...), name...), "\ndata: "...)
}
