package view

// Instance decides whether an override switches off one instance of a service: SERVICE/INSTANCE. What is reported of
// SERVICE/INSTANCE comes from the instance itself, or from a process before it, and is no opinion of the registry's:
// only an override is.
//
// The zero Instance is that of a process which does not report SERVICE/INSTANCE. An Instance is not safe for use by
// many goroutines.
type Instance struct {
	// Reports says that the process reports SERVICE/INSTANCE itself. While the registry does not have that name, as
	// between a start and the first report, an override of a pattern would not show: so what was off stays off until
	// the registry has the name.
	Reports bool

	off *Opinion // by which the instance is switched off; nil: it is not
}

// Judge takes the newest opinion of SERVICE/INSTANCE. It returns the opinion that switches the instance off, nil if
// none does, and whether the registry was heard: of a process that reports, when the registry has its name.
func (i *Instance) Judge(own Opinion) (off *Opinion, heard bool) {
	exists := !i.Reports || own.Record != nil
	switch {
	case own.OffByOverride():
		i.off = &own
	case exists:
		i.off = nil
	}
	return i.off, own.Heard && exists
}
