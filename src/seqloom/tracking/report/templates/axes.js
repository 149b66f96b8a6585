  // Numbers in words, and axes: what every chart of every page shares.
  const BOX = 1000;

  const short = (value) => {
    for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= Math.max(unit, 1e4)) return Number((value / unit).toPrecision(6)) + name;
    }
    if (value && Math.abs(value) < 1e-4) {
      const [mantissa, exponent] = value.toExponential(5).split("e");
      return Number(mantissa) + "e" + Number(exponent);
    }
    return String(Number(value.toPrecision(6)));
  };

  const clock = (seconds) => {
    if (seconds < 60) return seconds.toFixed(1) + " s";
    const minutes = Math.floor(Math.round(seconds) / 60);
    if (minutes < 60) return minutes + " min " + (Math.round(seconds) % 60) + " s";
    return Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
  };

  const roundStep = (step) => {
    const power = 10 ** Math.floor(Math.log10(step));
    return [1, 2, 5, 10].map((m) => m * power).find((mark) => mark >= step * 0.999);
  };

  function axis(low, high, isLog) {
    const scale = isLog ? Math.log10 : (value) => value;
    const from = scale(low), span = scale(high) - from;
    const place = (value) => (BOX * (scale(value) - from)) / span;
    const ticks = (num) => {
      if (isLog && high / low > 3) {
        const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
        const marks = [];
        for (let e = first; e <= last; e++) {
          for (const m of last - first > 4 ? [1] : [1, 2, 5]) marks.push(m * 10 ** e);
        }
        return marks.filter((mark) => low <= mark && mark <= high);
      }
      const step = roundStep((high - low) / num), marks = [];
      for (let k = Math.ceil(low / step); k <= Math.floor(high / step); k++) {
        marks.push(Number((k * step).toPrecision(6)));
      }
      return marks;
    };
    return { low, high, place, ticks };
  }

  function extent(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) {  // not Math.min(...): a call takes no 100,000 arguments
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  }

  function padded(values, isLog) {
    const [low, high] = extent(values);
    if (isLog) return axis(low / 1.15, high * 1.15, true);
    const air = 0.04 * (high - low) || Math.abs(high) * 0.1 || 1;
    return axis(low - air, high + air, false);
  }

  // The buttons below a chart; what they do, by name, for its keys.
  function zoomButtons(figure, zoomBy, zoom) {
    const acts = {
      in: () => zoomBy(0.5),
      out: () => zoomBy(2),
      all: () => zoom(-Infinity, Infinity),
    };
    figure.querySelectorAll("[data-zoom]").forEach((button) => {
      button.addEventListener("click", () => acts[button.dataset.zoom]());
    });
    return acts;
  }
