package layers

import (
	"github.com/rollcallhq/rollcall/api/rollcall/convert"
)

// Show sets what is effective of s, which has what is reported, and the overrides that cover it.
func (l *Layers) Show(s *convert.Service) {
	if l == nil {
		return
	}
	s.Effective, s.StatusTime = l.Effective(s.Name, s.Reported, s.StatusTime)
	l.Each(s.Name, func(o *Override) bool {
		s.Overrides = append(s.Overrides, convert.Override(o.Pattern, o.Override))
		return true
	})
}
