package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Plot is lines over one axis.
type Plot struct {
	Name   string  `json:"name"` // of its file, without .svg
	Title  string  `json:"title"`
	X      string  `json:"x"` // what the axis shows, with its unit
	Y      string  `json:"y"`
	LogX   bool    `json:"log_x"`
	LogY   bool    `json:"log_y"`
	Series []*Line `json:"series"`
}

// Line is one contestant's.
type Line struct {
	Who    string   `json:"who"`
	Points []*Point `json:"points"`
}

// Point is what the rounds at X found.
type Point struct {
	X      float64   `json:"x"`
	Values []float64 `json:"values"`
}

// Add appends v to who's point at x.
func (p *Plot) Add(who string, x, v float64) {
	var line *Line
	for _, l := range p.Series {
		if l.Who == who {
			line = l
		}
	}
	if line == nil {
		line = &Line{Who: who}
		p.Series = append(p.Series, line)
	}
	for _, at := range line.Points {
		if at.X == x {
			at.Values = append(at.Values, v)
			return
		}
	}
	line.Points = append(line.Points, &Point{X: x, Values: []float64{v}})
}

// at returns the values at x, nil if there are none.
func (l *Line) at(x float64) []float64 {
	for _, p := range l.Points {
		if p.X == x {
			return p.Values
		}
	}
	return nil
}

// The canvas and the frame in it, in pixels.
const (
	width, height            = 720.0, 420.0
	left, right, top, bottom = 84.0, 24.0, 72.0, 56.0
)

// Colours and marks that differ for everybody (Okabe and Ito's), each line with its own.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// SVG draws the plot: medians joined by a line, the range of the rounds as a bar at each.
func (p *Plot) SVG() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString(p.Title))
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="#fff"/>`+"\n", width, height)
	text(&b, left, 26, "start", 16, p.Title)
	x, y := p.scales()
	for _, t := range x.ticks() {
		at := x.place(t, left, width-right)
		line(&b, at, top, at, height-bottom, "#e5e5e5", 1)
		text(&b, at, height-bottom+18, "middle", 12, short(t))
	}
	for _, t := range y.ticks() {
		at := y.place(t, height-bottom, top)
		line(&b, left, at, width-right, at, "#e5e5e5", 1)
		text(&b, left-8, at+4, "end", 12, short(t))
	}
	line(&b, left, height-bottom, width-right, height-bottom, "#333", 1)
	line(&b, left, top, left, height-bottom, "#333", 1)
	text(&b, (left+width-right)/2, height-14, "middle", 13, p.X)
	fmt.Fprintf(&b, `<text x="18" y="%g" text-anchor="middle" fill="#222" transform="rotate(-90 18 %g)">%s</text>`+"\n",
		(top+height-bottom)/2, (top+height-bottom)/2, html.EscapeString(p.Y))
	legend := left
	for i, l := range p.Series {
		colour := colours[i%len(colours)]
		var path []string
		for _, at := range l.Points {
			px := x.place(at.X, left, width-right)
			py := y.place(Median(at.Values), height-bottom, top)
			low, high := Range(at.Values)
			line(&b, px, y.place(low, height-bottom, top), px, y.place(high, height-bottom, top), colour, 1.5)
			mark(&b, i, px, py, colour)
			path = append(path, fmt.Sprintf("%.1f,%.1f", px, py))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), colour)
		mark(&b, i, legend+6, 48, colour)
		text(&b, legend+16, 52, "start", 13, l.Who)
		legend += 40 + 7.5*float64(len([]rune(l.Who)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func line(b *strings.Builder, x1, y1, x2, y2 float64, colour string, thick float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>`+"\n", x1, y1, x2, y2, colour, thick)
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="#222">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

func mark(b *strings.Builder, i int, x, y float64, colour string) {
	switch i % 4 {
	case 0:
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s"/>`+"\n", x, y, colour)
	case 1:
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="8" height="8" fill="%s"/>`+"\n", x-4, y-4, colour)
	case 2:
		fmt.Fprintf(b, `<path d="M%.1f %.1f l5 9 h-10 z" fill="%s"/>`+"\n", x, y-6, colour)
	default:
		fmt.Fprintf(b, `<path d="M%.1f %.1f l6 6 l-6 6 l-6 -6 z" fill="%s"/>`+"\n", x, y-6, colour)
	}
}

// scale is an axis from low to high, which differ.
type scale struct {
	low, high float64
	log       bool
}

// scales hold all values. A linear axis begins at 0; one by powers of ten begins and, if it is the
// vertical one, ends with a power.
func (p *Plot) scales() (x, y scale) {
	x, y = scale{math.Inf(1), math.Inf(-1), p.LogX}, scale{math.Inf(1), math.Inf(-1), p.LogY}
	for _, l := range p.Series {
		for _, at := range l.Points {
			x.hold(at.X)
			for _, v := range at.Values {
				y.hold(v)
			}
		}
	}
	return x.round(), y.round()
}

func (s *scale) hold(v float64) {
	if s.log && v <= 0 {
		return
	}
	s.low, s.high = min(s.low, v), max(s.high, v)
}

func (s scale) round() scale {
	if s.low > s.high { // nothing to show
		s.low, s.high = 1, 10
	}
	if s.log {
		s.low = math.Pow(10, math.Floor(math.Log10(s.low)))
		s.high = max(math.Pow(10, math.Ceil(math.Log10(s.high))), s.low*10)
		return s
	}
	s.low = 0
	if s.high <= 0 {
		s.high = 1
	}
	s.high *= 1.08
	return s
}

func (s scale) place(v, from, to float64) float64 {
	if s.log {
		v = max(v, s.low)
		return from + (to-from)*(math.Log10(v)-math.Log10(s.low))/(math.Log10(s.high)-math.Log10(s.low))
	}
	return from + (to-from)*(v-s.low)/(s.high-s.low)
}

func (s scale) ticks() []float64 {
	var t []float64
	if s.log {
		for v := s.low; v <= s.high*1.001; v *= 10 {
			t = append(t, v)
		}
		return t
	}
	step := math.Pow(10, math.Floor(math.Log10(s.high/4)))
	for _, f := range []float64{1, 2, 5, 10} {
		if s.high/(step*f) <= 6 {
			step *= f
			break
		}
	}
	for v := 0.0; v <= s.high; v += step {
		t = append(t, v)
	}
	return t
}

// short shows a tick: 100k, 1M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return Number(v/1e6) + "M"
	case v >= 1e4:
		return Number(v/1e3) + "k"
	}
	return Number(v)
}
