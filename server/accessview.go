package server

import "github.com/rollcallhq/rollcall/server/authz"

// rights is an Access as package authz asks it.
type rights struct{ all Access }

func (r rights) Access() authz.Access           { return r.all.Access() }
func (r rights) AccessChanged() <-chan struct{} { return r.all.AccessChanged() }
func (r rights) ReadsOpen() bool                { return r.all.ReadsOpen() }
