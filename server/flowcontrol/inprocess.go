package flowcontrol

import (
	"google.golang.org/protobuf/proto"
)

// What is sent to callers in this process passes no codec: package inprocess opens it (inprocess.Parcel). Whoever sends
// it holds the message until it has left.

// Open returns the message to send, and what is to be called when it has left.
func (o *PageSender) Open() (m proto.Message, left func()) { return o.message, o.Idle }

// Open returns the answer to send, and what is to be called when it has left.
func (o *AnswerSender) Open() (m proto.Message, left func()) { return o.message, o.give }

// Open returns the answer, and what is to be called when it has left.
func (a *answer) Open() (m proto.Message, left func()) { return a.message, a.give }
