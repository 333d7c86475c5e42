package client

import rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"

// held says that a watch of services holds exactly what a stream had sent up to a message that was synced.
type held struct {
	revision   int64  // of the message; 0: it holds no such state
	filtered   bool   // there may have been more than its caller may read
	credential uint64 // generation of the token that the stream was opened with; 0: none
}

// goOnFrom returns from which revision the next stream is to go on; 0: it is to begin anew. A node of an older version
// does not know the question, and begins anew.
func (w *servicesWatch) goOnFrom() int64 {
	if w.names != nil || w.cluster == "" { // the first state of names is small; a revision belongs to a cluster
		return 0
	}
	return w.held.revision
}

// resume takes that a stream goes on from held. It refuses, and the next stream begins anew, if the caller of this stream
// may read more, or less, than the caller of the one before: then nobody would tell the difference. Who the caller is
// depends on the token and on the certificate, and an administrator of one node's own configuration is none elsewhere.
func (w *servicesWatch) resume() error {
	whole := !w.held.filtered && !w.filtered
	sameToken := w.held.filtered && w.filtered && w.credential != 0 && w.credential == w.held.credential
	if !whole && !sameToken {
		w.held = held{}
		return errReopen
	}
	w.found = nil
	return nil
}

// hold notes what is held after a message. It is called before minRevision is that of the message.
func (w *servicesWatch) hold(m *rollcallv1.WatchServicesResponse) {
	switch {
	case m.GetSynced() && m.GetRevision() >= w.minRevision:
		w.held = held{m.GetRevision(), w.filtered, w.credential}
		w.reopens = 0
	case m.GetSynced(), len(m.GetServices())+len(m.GetDeleted()) > 0:
		w.held = held{} // it is of several revisions
	}
}
