package browsertest_test

import (
	"fmt"
	"slices"
	"testing"
)

// A scene is a state of the page that people look at: a view, or a dialog over it. TestScenes shows it in every look and at
// every size, keeps a picture, and has axe-core look at it. Each file that tests a part of the page adds its scenes:
//
//	func init() { scenes = append(scenes, scene{name: "map", show: func(p *tab) { p.goTo("/ui/"); p.see(hook("map")) }}) }
//
// show opens the page and waits until all is there. It must not write: its node is shared.
type scene struct {
	name   string
	sizes  []int // services of the node; nil: all sizes
	secure bool  // on a node that enforces access, by its administrator; 1,000 services
	reader bool  // with secure: by a caller without a token, who may only read
	show   func(p *tab)
}

var (
	scenes []scene
	sizes  = []int{1, 1_000, 100_000}
)

// narrowLook and zoomedLook must need no scrolling to the side (WCAG 1.4.10).
var looks = []look{{}, {dark: true}, {width: narrow}, {zoom: 2}}

func TestScenes(t *testing.T) {
	names := map[string]bool{}
	for _, s := range scenes {
		if names[s.name] {
			t.Fatalf("two scenes are called %s", s.name)
		}
		names[s.name] = true
	}
	slices.SortStableFunc(scenes, func(a, b scene) int { return len(b.sizes) - len(a.sizes) })
	for _, size := range sizes {
		for _, s := range scenes {
			if s.secure && size != 1_000 || !s.secure && s.sizes != nil && !slices.Contains(s.sizes, size) {
				continue
			}
			for _, l := range looks {
				if size != 1_000 && l.width+int64(l.zoom) != 0 {
					continue // narrow and large are shown once
				}
				if *few && (l.zoom != 0 || l.dark && size != 1_000) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%s", s.name, size, l), func(t *testing.T) { show(t, s, size, l) })
			}
		}
	}
}

func show(t *testing.T, s scene, size int, l look) {
	l.still = true // so that a picture is of the end, and colours are not half way when axe-core looks
	var n *node
	if s.secure {
		n = sharedSecure(t)
		if !s.reader {
			l.token = n.admin
		}
	} else {
		n = sharedNode(t, size)
	}
	p := n.blank(t, l)
	s.show(p)
	p.shot("")
	if over := eval[int](p, `document.scrollingElement.scrollWidth - document.documentElement.clientWidth`); over > 1 {
		t.Errorf("the page is %d pixels wider than the window: %s", over, eval[string](p, `
			[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map((e) => e.tagName + "." + e.className).join(" ")`))
	}
	p.axe()
}
