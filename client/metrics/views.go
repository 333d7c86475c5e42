package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcallhq/rollcall/client/view"
)

var (
	ageDesc = prometheus.NewDesc("rollcall_view_age_seconds",
		"How long no node of the registry was heard, of the view that waits longest; 0 while one is. What views say stays as it was meanwhile.", nil, nil)
	offDesc = prometheus.NewDesc("rollcall_view_off",
		"1 while the registry says that service is NOT_SERVING, else 0.", []string{"service"}, nil)
	heldDesc = prometheus.NewDesc("rollcall_view_held",
		"Services that stay off only because another cluster, which answers now, has not spoken of them.", nil, nil)
)

// viewer is a view.View.
type viewer interface {
	Names() []string
	Get(name string) view.Opinion
	Silent() time.Duration
}

// AddView has a view shown. Adding it again, or adding nil, changes nothing: so the View of a healthserver without a
// client may be added.
func (m *Metrics) AddView(v *view.View) {
	if v == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.views, viewer(v)) {
		m.views = append(m.views, v)
	}
}

// collectViews shows all views as one: a name of several is off if it is in any.
func (m *Metrics) collectViews(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	views := slices.Clone(m.views)
	m.mu.Unlock()
	if len(views) == 0 {
		return
	}
	var age time.Duration
	off, held := map[string]float64{}, map[string]bool{}
	for _, v := range views {
		age = max(age, v.Silent())
		for _, name := range v.Names() {
			o := v.Get(name)
			off[name] = max(off[name], number(o.Off))
			if o.Held {
				held[name] = true
			}
		}
	}
	gauge(ch, ageDesc, age.Seconds())
	gauge(ch, heldDesc, float64(len(held)))
	for name, value := range off {
		gauge(ch, offDesc, value, name)
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
