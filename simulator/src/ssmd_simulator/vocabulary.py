"""Words that titles and tickers are made of. All people are invented."""

# ruff: noqa: SIM905 - word lists read better as text

FIRST_NAMES = (
    "Ada Bruno Carla Dmitri Elena Farid Greta Hugo Ines Jonas Katya Liam Mara Nadia Oscar Petra "
    "Quentin Rosa Stefan Tara Umar Vera Walter Ximena Yusuf Zoe Amos Bella Cyrus Dora Emil Flora"
).split()

SURNAMES = (
    "Abbott Baranek Castellano Dunmore Eastwick Farrow Guthrie Halloway Ivanescu Jarrell Kessler "
    "Lindqvist Marchetti Novak Okafor Pemberton Quigley Rosenthal Santoro Thackeray Underhill "
    "Valverde Whitlock Xavier Yamada Zeller Albright Brightman Corrigan Delacroix Engstrom "
    "Fairbanks Grayson Hargrove Iwasaki Jennings Kowalski Lancaster Monteiro Nakamura O'Hara "
    "Prescott"
).split()

CITIES = (
    "Atlanta Austin Boston Chicago Dallas Denver Detroit Houston Miami Minneapolis Nashville "
    "Oakland Orlando Philadelphia Phoenix Pittsburgh Portland Seattle Tampa Toronto Baltimore "
    "Charlotte Cincinnati Cleveland Indianapolis Jacksonville Memphis Milwaukee Sacramento Utah"
).split()

CITY_CODES = (
    "ATL AUS BOS CHI DAL DEN DET HOU MIA MIN NSH OAK ORL PHI PHX PIT POR SEA TB TOR BAL CHA CIN CLE"
    " IND JAX MEM MIL SAC UTA"
).split()

STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
    "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"
).split()

COUNTRIES = (
    "Argentina Australia Austria Brazil Canada Chile Colombia Denmark Egypt Finland France Germany "
    "Greece Hungary India Indonesia Ireland Israel Italy Japan Kenya Mexico Netherlands Nigeria "
    "Norway Peru Poland Portugal Romania Spain Sweden Switzerland Thailand Turkey Ukraine Vietnam"
).split()

COMPANIES = (
    "Apple Microsoft Nvidia Amazon Alphabet Meta Tesla Netflix Walmart Target Starbucks Uber Lyft "
    "Airbnb Ford Boeing Delta Nike Disney Spotify Coinbase Robinhood Palantir Oracle Intel Adobe "
    "Salesforce Snowflake Moderna Pfizer Costco Chipotle Roblox Shopify Duolingo Reddit Pinterest"
).split()

LEAGUES = (
    ("NFL", "Pro Football", "Football"),
    ("NBA", "Pro Basketball", "Basketball"),
    ("WNBA", "Women's Pro Basketball", "Basketball"),
    ("MLB", "Pro Baseball", "Baseball"),
    ("NHL", "Pro Hockey", "Hockey"),
    ("NCAAF", "College Football", "Football"),
    ("NCAAMB", "College Basketball (M)", "Basketball"),
    ("NCAAWB", "College Basketball (W)", "Basketball"),
    ("EPL", "English Premier League", "Soccer"),
    ("LALIGA", "La Liga", "Soccer"),
    ("SERIEA", "Serie A", "Soccer"),
    ("BUNDESLIGA", "Bundesliga", "Soccer"),
    ("LIGUE1", "Ligue 1", "Soccer"),
    ("MLS", "Major League Soccer", "Soccer"),
    ("UCL", "Champions League", "Soccer"),
    ("LEAGUESCUP", "Leagues Cup", "Soccer"),
    ("ATP", "ATP Tour", "Tennis"),
    ("WTA", "WTA Tour", "Tennis"),
    ("PGA", "PGA Tour", "Golf"),
    ("UFC", "UFC", "MMA"),
    ("LOL", "League of Legends", "Esports"),
    ("CS2", "Counter-Strike 2", "Esports"),
    ("VALORANT", "Valorant", "Esports"),
    ("F1", "Formula 1", "Motorsport"),
    ("NASCAR", "NASCAR", "Motorsport"),
    ("IPL", "Indian Premier League", "Cricket"),
    ("KBO", "Korean Baseball", "Baseball"),
    ("NPB", "Japanese Baseball", "Baseball"),
)

WORDS = (
    "Tariff Inflation Recession Dividend Guidance Battery Robot Cloud Margin Layoff Merger "
    "Subscriber Hurricane Border Ballot Shutdown Ceasefire Treaty Vaccine Satellite Rocket Reactor "
    "Stablecoin Bitcoin Peak Summit Verdict Pardon Tariffs Oil Gold Copper Chip Quantum Streaming "
    "Sequel"
).split()

WORKS = (
    "Midnight Harbor,The Long Orbit,Paper Lanterns,Glass Valley,Iron Meridian,Velvet Static,"
    "Northbound,The Quiet Ledger,Saltwater Kings,Neon Orchard,Hollow Crown Road,Second Sunrise,"
    "The Cartographer,Wild Ferns,Last Train to Reno,Blue Hour,Paradox Lane,The Ember Line"
).split(",")

COINS = (
    ("BTC", "Bitcoin", 97500.0, 500.0),
    ("ETH", "Ethereum", 3420.0, 20.0),
    ("SOL", "Solana", 148.0, 2.0),
    ("XRP", "XRP", 2.31, 0.02),
    ("DOGE", "Dogecoin", 0.1749999, 0.005),
    ("BNB", "BNB", 612.0, 4.0),
    ("HYPE", "Hyperliquid", 31.5, 0.5),
    ("NEAR", "NEAR", 2.75, 0.05),
    ("SHIBA", "Shiba Inu", 0.0000077, 0.0000002),
    ("ZEC", "Zcash", 288.0, 3.0),
    ("ADA", "Cardano", 0.455, 0.01),
    ("LINK", "Chainlink", 14.25, 0.25),
)

GAUGES = (
    ("INX", "the S&P 500", 6812.0, 12.5, "Financials"),
    ("NASDAQ100", "the Nasdaq-100", 25190.0, 50.0, "Financials"),
    ("DJI", "the Dow Jones", 47210.0, 100.0, "Financials"),
    ("EURUSD", "EUR/USD", 1.153, 0.002, "Financials"),
    ("USDJPY", "USD/JPY", 154.25, 0.25, "Financials"),
    ("GBPUSD", "GBP/USD", 1.3105, 0.0025, "Financials"),
    ("USDBRL", "USD/BRL", 5.335, 0.015, "Financials"),
    ("TNOTE", "the 10-year Treasury yield", 4.12, 0.05, "Financials"),
    ("UST2A", "the 2-year Treasury yield", 3.61, 0.05, "Financials"),
    ("WTI", "WTI crude oil", 59.75, 0.5, "Commodities"),
    ("BRENT", "Brent crude oil", 63.99, 0.5, "Commodities"),
    ("GOLD", "gold", 4081.0, 10.0, "Commodities"),
    ("SILVER", "silver", 50.25, 0.25, "Commodities"),
    ("COPPER", "copper", 5.02, 0.04, "Commodities"),
    ("NATGAS", "natural gas", 4.48, 0.05, "Commodities"),
    ("CPIYOY", "annual CPI inflation", 3.0, 0.1, "Economics"),
    ("CPICORE", "core CPI inflation", 0.3, 0.1, "Economics"),
    ("PCE", "PCE inflation", 2.8, 0.1, "Economics"),
    ("U3", "the unemployment rate", 4.4, 0.1, "Economics"),
    ("PAYROLLS", "nonfarm payrolls", 75000.0, 25000.0, "Economics"),
    ("GDP", "real GDP growth", 2.4, 0.25, "Economics"),
    ("FEDFUNDS", "the upper bound of the federal funds rate", 3.75, 0.25, "Economics"),
    ("AAAGAS", "US gas prices", 3.079, 0.01, "Economics"),
    ("MORTGAGE30Y", "30-year mortgage rates", 6.26, 0.05, "Economics"),
    ("JOBLESS", "initial jobless claims", 228000.0, 4000.0, "Economics"),
)

TAGS: dict[str, tuple[str, ...] | None] = {
    "Climate and Weather": ("Daily temperature", "Snow and rain", "Hurricanes", "Climate change"),
    "Commodities": ("Oil and energy", "Metals"),
    "Companies": ("KPIs", "Product launches", "CEOs", "Layoffs"),
    "Crypto": ("BTC", "Hourly", "ETH", "SOL", "Pre-Market"),
    "Economics": ("Fed", "Inflation", "Growth", "Employment", "Housing"),
    "Elections": None,
    "Entertainment": ("Awards", "Movies", "Music", "Music charts", "Television"),
    "Financials": ("S&P", "Daily", "Nasdaq", "EUR/USD", "Treasuries"),
    "Health": ("Diseases",),
    "Mentions": None,
    "Politics": ("Trump Agenda", "US Elections", "Bills", "Foreign Elections", "Cabinet"),
    "Science and Technology": ("AI", "Space", "Energy"),
    "Social": None,
    "Sports": (
        "Soccer",
        "Basketball",
        "Baseball",
        "Football",
        "Hockey",
        "Tennis",
        "Golf",
        "Esports",
    ),
    "Transportation": None,
    "World": ("Foreign Elections",),
}
"""The tags of each category, as `tags_by_categories` gives them; None where it says null."""

SOURCES = {
    "Sports": ("ESPN", "https://www.espn.com"),
    "Elections": ("Associated Press", "https://apnews.com"),
    "Crypto": ("CF Benchmarks", "https://www.cfbenchmarks.com"),
    "Climate and Weather": ("National Weather Service", "https://forecast.weather.gov"),
    "Economics": ("Bureau of Labor Statistics", "https://www.bls.gov"),
    "Financials": ("S&P Global", "https://www.spglobal.com"),
}
