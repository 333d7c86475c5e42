package forming

// An Error says why this node, as it is configured and with the data it has, can neither form nor join a
// cluster. Trying again does not help: somebody must act.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }
