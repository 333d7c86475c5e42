package fsm

// canonical says what r holds. It is the same for a request that was folded here and one that was
// loaded: causes are told by their content and not by who shares them, of an outcome's before only
// whether it differs, and neighbours that have one cause say it once, or a batch of 10,000 changes
// would say its reason as often.
func (r *request) canonical(c canonical) canonical {
	c = c.number(int64(r.place.index)).
		number(int64(r.place.position)).
		text(r.key.caller).
		text(r.key.id).
		text(string(r.hash[:])).
		number(r.time).
		number(r.revision).
		flag(r.refusal != nil)
	if f := r.refusal; f != nil {
		c = c.number(int64(f.GetReason())).
			number(int64(f.GetKind())).
			text(f.GetKey()).
			text(f.GetField()).
			number(int64(f.GetChange())).
			number(int64(f.GetProblem())).
			number(f.GetValue()).
			number(f.GetLimit()).
			text(f.GetGiven()).
			text(f.GetHeld()).
			number(f.GetCurrentRevision())
	}
	c = c.number(int64(len(r.outcomes)))
	var why *cause
	for i := range r.outcomes {
		o := &r.outcomes[i]
		c = c.text(o.name).flag(o.changed()).flag(o.after != nil)
		if o.after == nil {
			continue
		}
		c = c.number(o.after.revision).number(int64(o.after.status)).number(o.after.statusTime)
		same := why != nil && *why == *o.after.cause
		if c = c.flag(same); !same {
			why = o.after.cause
			c = why.canonical(c)
		}
	}
	return c
}

// remember takes in a request id that is remembered from now on.
func (m *multiset) remember(r *request) {
	var room [512]byte
	m.add(kindRequest, r.canonical(newCanonical(&room)))
}

// rememberIn is remember with a buffer, which it returns larger if it has to be.
func (m *multiset) rememberIn(buffer canonical, r *request) canonical {
	buffer = r.canonical(append(buffer[:0], 0))
	m.add(kindRequest, buffer)
	return buffer
}

// forget undoes remember.
func (m *multiset) forget(r *request) {
	var room [512]byte
	m.remove(kindRequest, r.canonical(newCanonical(&room)))
}

// limits changes the hash as the limits of the request ids go from before to after; zero: none.
func (m *multiset) limits(before, after requestLimits) {
	var room [512]byte
	if before != (requestLimits{}) {
		m.remove(kindLimits, before.canonical(newCanonical(&room)))
	}
	if after != (requestLimits{}) {
		m.add(kindLimits, after.canonical(newCanonical(&room)))
	}
}

func (l requestLimits) canonical(c canonical) canonical {
	return c.number(int64(l.ids)).number(l.window)
}
