//! 8-bit floats with a scale beside them.
//!
//! `F8_E4M3` is the variant without infinities (Micikevicius et al., arXiv:2209.05433, table 1):
//! 4 bits of exponent with a bias of 7, 3 of mantissa, one code for NaN.

/// Scales of one tensor: each holds for a block of rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scales {
    /// Rows and columns of one block.
    block: [usize; 2],
    /// Blocks side by side.
    across: usize,
    factors: Vec<f32>,
}

impl Scales {
    /// `factors` of `shape` for a matrix of `rows` by `columns`; `None` where they do not fit.
    /// No dimension, or one block in all, is one scale for everything; one per row is known,
    /// too. Else blocks are `block`, or 128 by 128.
    pub(super) fn new(
        factors: Vec<f32>,
        shape: &[usize],
        (rows, columns): (usize, usize),
        block: Option<[usize; 2]>,
    ) -> Option<Self> {
        let block = match shape {
            _ if factors.len() == 1 => [rows, columns],
            [n] | [n, 1] if *n == rows => [1, columns],
            [_, _] => block.unwrap_or([128, 128]),
            _ => return None,
        };
        let [high, wide] = block;
        if high == 0 || wide == 0 {
            return None;
        }
        let (down, across) = (rows.div_ceil(high), columns.div_ceil(wide));
        // Not only as many: turned round, each block would get another one's scale.
        let fits = factors.len() == down * across
            && (shape.len() < 2 || down * across == 1 || *shape == [down, across]);
        fits.then_some(Self { block, across, factors })
    }

    /// Decodes one row.
    pub(super) fn decode(&self, row: usize, codes: &[u8], out: &mut [f32]) {
        let table = &TABLE;
        let first = row / self.block[0] * self.across;
        let blocks = codes.chunks(self.block[1]).zip(out.chunks_mut(self.block[1]));
        for ((codes, out), factor) in blocks.zip(&self.factors[first..]) {
            out.iter_mut().zip(codes).for_each(|(x, code)| *x = table[*code as usize] * factor);
        }
    }
}

/// What each code stands for.
static TABLE: [f32; 256] = table();

const fn table() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = (code >> 3 & 15, (code & 7) as f32);
        let mut x = match (exponent, code & 7) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa / 512.0,
            _ => (1.0 + mantissa / 8.0) * power_of_two(exponent as i32 - 7),
        };
        if code > 127 {
            x = -x;
        }
        table[code] = x;
        code += 1;
    }
    table
}

const fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_for_what_the_paper_says() {
        let value = |code: u8| TABLE[code as usize];
        assert_eq!((value(0b0111_1110), value(0b1111_1110)), (448.0, -448.0), "the largest");
        assert_eq!((value(0b0000_1000), value(0b0000_0001)), (2f32.powi(-6), 2f32.powi(-9)));
        assert_eq!((value(0b0000_0111), value(0b0011_1000), value(0)), (0.875 * 2f32.powi(-6), 1.0, 0.0));
        assert!(value(0x7f).is_nan() && value(0xff).is_nan());
        assert_eq!(TABLE.iter().filter(|x| x.is_nan()).count(), 2);
    }

    #[test]
    fn each_block_has_its_own_scale() {
        let scales = Scales::new(vec![1.0, 2.0, 3.0, 4.0], &[2, 2], (3, 5), Some([2, 4])).unwrap();
        let one = 0b0011_1000;
        let mut out = [0.0; 5];
        scales.decode(1, &[one; 5], &mut out);
        assert_eq!(out, [1.0, 1.0, 1.0, 1.0, 2.0]);
        scales.decode(2, &[one; 5], &mut out);
        assert_eq!(out, [3.0, 3.0, 3.0, 3.0, 4.0]);
        let rows = Scales::new(vec![1.0, 2.0], &[2, 1], (2, 300), None).unwrap();
        let mut out = [0.0; 300];
        rows.decode(1, &[one; 300], &mut out);
        assert_eq!(out, [2.0; 300]);
    }

    #[test]
    fn scales_that_do_not_fit_are_no_scales() {
        assert!(Scales::new(vec![1.0; 3], &[3, 1], (256, 128), None).is_none());
        assert!(Scales::new(vec![1.0; 2], &[2, 1], (256, 128), None).is_some());
        assert!(Scales::new(vec![1.0; 8], &[4, 2], (512, 256), None).is_some());
        assert!(Scales::new(vec![1.0; 8], &[2, 4], (512, 256), None).is_none(), "turned round");
        assert!(Scales::new(vec![1.0; 2], &[2, 1, 1], (256, 128), None).is_none());
        assert!(Scales::new(vec![], &[0, 0], (256, 128), Some([0, 0])).is_none());
    }
}
