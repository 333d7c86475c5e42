package apijson

import (
	"bytes"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/proto"
)

// Message is an API message in JSON, as Append writes it.
type Message struct{ proto.Message }

// MarshalJSON implements json.Marshaler.
func (m Message) MarshalJSON() ([]byte, error) { return Append(nil, m.Message) }

// Messages is a list of API messages in JSON.
func Messages[M proto.Message](list []M) []Message {
	out := make([]Message, len(list))
	for i, m := range list {
		out[i] = Message{m}
	}
	return out
}

// Time is a time in JSON: RFC 3339 in UTC.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return appendTime(nil, t.Time), nil }

// Seconds is a duration in JSON: a number of seconds, exact to the nanosecond.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) { return appendSeconds(nil, time.Duration(s)), nil }

// Marshal returns v, anything that encoding/json takes, as JSON on one line. It leaves <, > and & readable.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Indented is Marshal on many lines.
func Indented(v any) ([]byte, error) {
	line, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
