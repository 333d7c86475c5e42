package limits

import "testing"

func BenchmarkName(b *testing.B) {
	for name, text := range map[string]string{
		"ascii": "payments/checkout/10.0.0.1:8080", "cyrillic": "платежи/касса", "vietnamese": "thanh-toán/giỏ-hàng", "decomposed mark": "q\u0307/касса",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Name(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := Lookup("payments/checkout/10.0.0.1:8080"); err != nil {
			b.Fatal(err)
		}
	}
}
