package graph

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// SVG draws a graph as a picture. Errors are w's.
func SVG(w io.Writer, g Graph) error {
	b := bufio.NewWriter(w)
	newLayout(&g).draw(b)
	return b.Flush()
}

// colours is how many there are; neighbours differ.
const colours = 8

// palettes have a tone for each colour that can be read on the ground, and on
// which text in the colour of the ground can be read.
var (
	lightTones = [colours]string{"#1d4ed8", "#0f766e", "#b45309", "#7e22ce", "#15803d", "#be185d", "#0369a1", "#a21caf"}
	darkTones  = [colours]string{"#8ab4ff", "#5eead4", "#fbbf77", "#d8b4fe", "#86efac", "#f9a8d4", "#7dd3fc", "#f0abfc"}
)

// theme is the colours of what is no line.
type theme struct {
	ground, ink, grey, thin, lock string
	tones                         [colours]string
}

var (
	light = theme{"#ffffff", "#111827", "#5b6472", "#e5e7eb", "#374151", lightTones}
	dark  = theme{"#11151c", "#e6e9ef", "#9aa4b2", "#2a313c", "#c3cad5", darkTones}
)

func (t *theme) css() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".bg{fill:%s}text{fill:%s}.grey{fill:%s}.thin{stroke:%s}.post,.pill{stroke:%s}.pill,.hole{fill:%s}.lock{fill:%s}.lock path{stroke:%s}.inv{fill:%s}",
		t.ground, t.ink, t.grey, t.thin, t.lock, t.ground, t.lock, t.lock, t.ground)
	for i, c := range t.tones {
		fmt.Fprintf(&b, ".s%d{stroke:%s}.f%d{fill:%s}", i, c, i, c)
	}
	return b.String()
}

const style = `text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",Arial,sans-serif;white-space:pre;direction:ltr;unicode-bidi:isolate}` +
	`.head{font-size:16px;font-weight:700}.name{font-size:13px;font-weight:600}.axis{font-size:11px}.gone{font-size:13px;font-style:italic}` +
	`.line{fill:none;stroke-width:4;stroke-linecap:round;stroke-linejoin:round}.tail{stroke-width:2;opacity:.45}.dead{stroke-width:2;opacity:.45;stroke-dasharray:1 6;stroke-linecap:round}` +
	`.stop{stroke-width:2.5}.pole{stroke-width:1.5}.thin{stroke-width:1}.post{stroke-width:1.2;stroke-dasharray:3 4}.pill{stroke-width:1}.lock path{fill:none;stroke-width:1.4}`

func (l *layout) draw(w *bufio.Writer) {
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", l.width, l.height, l.width, l.height)
	fmt.Fprintf(w, "<title>%s</title>\n", escape("Store "+printable(l.t.g.Store)+": "+l.t.census().summary()))
	fmt.Fprintf(w, "<style>%s%s@media(prefers-color-scheme:dark){%s}</style>\n", style, light.css(), dark.css())
	fmt.Fprintf(w, `<rect class="bg" width="%d" height="%d"/>`+"\n", l.width, l.height)
	l.drawAxis(w)
	for i := len(l.tracks) - 1; i >= 0; i-- { // origins over their forks
		l.tracks[i].draw(w, l.edge)
	}
	for i := range l.tracks {
		l.tracks[i].drawStops(w)
	}
	for i := range l.labels {
		l.labels[i].draw(w)
	}
	fmt.Fprintln(w, "</svg>")
}

func (l *layout) drawAxis(w *bufio.Writer) {
	from, bottom := l.axis+labelHeight+3, l.height-margin/2
	for _, x := range l.grid {
		vertical(w, "thin", x, l.axis, l.axis+3)
		vertical(w, "thin", x, from, bottom)
	}
	fmt.Fprintf(w, `<path class="thin" d="M%d %dH%d"/>`+"\n", margin, l.axis, l.edge)
	for _, p := range l.posts {
		vertical(w, "post", p.x, p.pole, l.axis)
		vertical(w, "post", p.x, from, bottom)
	}
}

func vertical(w *bufio.Writer, class string, x, from, to int) {
	fmt.Fprintf(w, `<path class="%s" d="M%d %dV%d"/>`+"\n", class, x, from, to)
}

// draw draws the line of a lineage.
func (t *track) draw(w *bufio.Writer, edge int) {
	tail := "dead"
	if t.live {
		tail = "tail"
	}
	if t.to < edge {
		fmt.Fprintf(w, `<path class="%s s%d" d="M%d %dH%d"/>`+"\n", tail, t.colour, t.to, t.y, edge)
	}
	const bend = 11
	switch {
	case t.fork:
		fmt.Fprintf(w, `<path class="line s%d" d="M%d %dV%dQ%d %d %d %dH%d"/>`+"\n", t.colour, t.from, t.originY, t.y-bend, t.from, t.y, t.from+bend, t.y, t.to)
	case t.from < t.to:
		fmt.Fprintf(w, `<path class="line s%d" d="M%d %dH%d"/>`+"\n", t.colour, t.from, t.y, t.to)
	}
}

func (t *track) drawStops(w *bufio.Writer) {
	for _, s := range t.stationsOf {
		if s.pole != 0 {
			vertical(w, fmt.Sprintf("pole s%d", t.colour), s.x, s.pole, t.y)
		}
		class, r := fmt.Sprintf("stop hole s%d", t.colour), 5
		switch {
		case s.bare:
			class, r = fmt.Sprintf("f%d", t.colour), 4
		case s.current:
			class, r = fmt.Sprintf("stop f%d s%d", t.colour, t.colour), 6
		}
		fmt.Fprintf(w, `<circle class="%s" cx="%d" cy="%d" r="%d"><title>%s</title></circle>`+"\n", class, s.x, t.y, r, escape(s.title))
	}
}

func (b *label) draw(w *bufio.Writer) {
	fmt.Fprint(w, "<g>")
	if b.title != "" {
		fmt.Fprintf(w, "<title>%s</title>", escape(b.title))
	}
	middle, pad, class := b.y+b.h-5, 0, ""
	switch b.kind {
	case flagLabel:
		fmt.Fprintf(w, `<path class="f%d" d="M%d %dh%dl-6 %.1fl6 %.1fh%dz"/>`, b.colour, b.x, b.y, b.w, float64(b.h)/2, float64(b.h)/2, -b.w)
		pad, class = 6, "inv"
	case holdLabel:
		b.drawHold(w)
		pad = 22
	case headLabel:
		class = "head"
	case noteLabel, sizeLabel:
		class = "grey"
	case nameLabel:
		class = fmt.Sprintf("name f%d", b.colour)
	case goneLabel:
		class = "gone grey"
	case axisLabel:
		class, middle = "axis grey", b.y+b.h-3
	}
	fmt.Fprintf(w, `<text class="%s" x="%d" y="%d"%s>%s</text></g>`+"\n", class, b.x+pad, middle, b.stretch(), escape(b.text))
}

// drawHold draws a pill with a padlock.
func (b *label) drawHold(w *bufio.Writer) {
	class := "pill"
	if b.colour >= 0 {
		class = fmt.Sprintf("pill s%d", b.colour)
	}
	fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`, class, b.x, b.y, b.w, b.h)
	x, y := b.x+8, b.y+8
	fmt.Fprintf(w, `<g class="lock"><rect x="%d" y="%d" width="9" height="6" rx="1.5"/><path d="M%d %dv-2a2.5 2.5 0 0 1 5 0v2"/></g>`, x, y, x+2, y)
}

// stretch holds a text to its width when nobody knows how wide its characters are.
func (b *label) stretch() string {
	if !strings.ContainsFunc(b.text, func(r rune) bool { return r > 0x7e && r != '…' }) {
		return ""
	}
	w := b.w
	switch b.kind {
	case flagLabel:
		w -= 18
	case holdLabel:
		w -= 30
	}
	return fmt.Sprintf(` textLength="%d" lengthAdjust="spacingAndGlyphs"`, max(w, 1))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
