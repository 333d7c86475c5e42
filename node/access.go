package node

import (
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/server"
)

// accessOf tells who may do what.
type accessOf struct{ *fsm.FSM }

// Access implements server.Access.
func (a accessOf) Access() server.AccessView { return a.FSM.Access() }
