// Package graph draws what a store holds as a tree of tips: volumes, the forks
// that hang off them, the tags that name tips and the holds that keep them; as
// text for a terminal and as an SVG picture.
//
// # Use
//
// Fill a Graph and call Text or SVG; see the example. The package knows
// nothing of stores: LSNs are numbers, identities are strings.
//
// # Guarantees
//
//  1. The same Graph gives the same bytes.
//  2. Any Graph can be drawn: tips in any order, origins that do not exist or go
//     round in a circle (whose lineage is then drawn as one without origin),
//     names of any bytes. Nothing panics.
//  3. Names cannot break out. What is not printable, control and bidirectional
//     characters among it, is shown as a Go string literal shows it; text from
//     right to left stays within its label; SVG is escaped, has no script and
//     refers to nothing outside.
//  4. Every name appears: in the terminal whole, on several lines if need be; in
//     the picture whole in the title of its label, shortened to MaxLabel
//     characters in the label itself.
//  5. No line of Text is wider than the width asked for, or MinWidth.
//  6. No two labels of the picture overlap, and no line of it crosses another:
//     widths are taken from the widest of the usual fonts, and what has other
//     characters than those of ASCII is told its width (textLength).
//
// Cost: memory and output are proportional to the Graph, times the depth of
// forks of forks in the terminal; time is that with a logarithm for sorting.
// There are no limits here; who makes the Graph bounds it.
//
// # The tree of the terminal
//
// Each lineage has its tips beneath it, older ones first, and each tip the forks
// that were made of it. A lineage of one tip takes one line. LSNs stand in a
// column of their own at the left, sizes at the right. Indentation that would
// take more than half of the width shows only its innermost part.
//
// # The picture
//
// A subway map: one horizontal line for each lineage, with LSNs from left to
// right and the names where the lines end. Tips are stations, the current one
// filled. Tags are flags on them and holds have a padlock. A fork leaves its
// origin downwards.
//
//	columns.go  an x for each LSN
//	layout.go   a y for each lineage, a place for each label
//	svg.go      the same as elements
//
// Columns: the space between two LSNs grows with the logarithm of their
// distance, so that empty ranges do not count, and lineages wish for as much as
// their labels need beside each other. In a picture of hundreds of volumes that
// would be too wide: then they get a part of it, and stations that have no room
// stand a bit to the right of their LSN. The order within a lineage, and between
// a lineage and its forks, is always right.
//
// Rows: lineages without origin by name, each followed by its forks, the latest
// first. Hence what lies between a lineage and its fork begins at or to the right
// of where the fork leaves, and nothing is crossed.
//
// Labels stand above their line, from their station to the right. They are placed
// from right to left, each above those it would cover: so the pole of a flag goes
// through no other.
//
// Colours are classes, for light and dark by prefers-color-scheme.
package graph
