package healthserver

// A rival is another process that publishes SERVICE/INSTANCE, under a lease of its own: the next process of an instance
// that is restarted with an overlap, or one that was given the same instance by mistake. The registry keeps one report,
// that of whoever wrote last.
//
// While the rival's lease lives, its word stands: two that wrote in turns would fill the history. Only a change of what
// the process says is written over it; and not the last word of a process that stops, which would end with its lease.
// When the rival is gone, its end has made the report NOT_SERVING, or deleted it, though this process lives; so the
// process publishes again.
type rivals struct {
	s     *Server
	lease lease
	told  string // the lease of the rival that was told last
}

// look reports whether there is a rival, and whether there was one that is gone. A process that says its last word does
// not tell of a rival: that is the next process of its instance, most likely.
func (r *rivals) look(lastWord bool) (there, gone bool) {
	mine, ok := r.lease.Acknowledged(r.s.instance)
	if !ok {
		return false, false
	}
	o := r.s.source.Get(r.s.instance)
	record, gone := o.Rival(mine)
	if id := record.GetReport().GetLeaseId(); record != nil && !lastWord && r.told != id {
		r.told = id
		actor := record.GetReport().GetActor()
		r.s.logger.Warn("another process publishes this instance, too, and its word stands; unless this is a restart, give each process an instance of its own",
			"instance", r.s.instance, "by", actor.GetName(), "from", actor.GetPeer(), "its_lease", id)
	}
	return record != nil, gone
}

// rewrite publishes again what was published last.
func (r *rivals) rewrite() {
	r.s.logger.Warn("another process had this instance, and is gone; this process publishes it again", "instance", r.s.instance)
	r.lease.Rewrite(r.s.instance)
}
